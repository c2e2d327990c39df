// Snapshots: profiles that somebody kept, beyond retention. /snapshots lists them, /s/:id shows one.
import {useState} from 'preact/hooks';
import {remove} from '../api/client';
import type {Snapshot} from '../api/types';
import {bytes} from '../app/format';
import {useData} from '../app/resource';
import {context, param, segments} from '../app/router';
import {may} from '../app/session';
import {CopyButton, Empty, Failure, Loaded, Panel, Pill, Time} from '../components/basics';
import {SearchField} from '../components/search_field';
import {Page} from '../components/topbar';
import {typeTitle} from '../profile/measure';
import {ProfileView} from './profile_view';

export function Snapshots() {
  const here = context.value;
  const of = useData<{snapshots: Snapshot[]}>('/snapshots', {...here}, `snapshots ${here?.app ?? ''} ${here?.env ?? ''}`);
  const [error, setError] = useState<Error | null>(null);
  const [asked, setAsked] = useState('');
  const q = param('q').toLowerCase();
  const drop = async (id: string): Promise<void> => {
    try {
      await remove(`/snapshots/${encodeURIComponent(id)}`);
      setError(null);
      setAsked('');
      of.reload();
    } catch (cause) {
      setError(cause instanceof Error ? cause : new Error(String(cause)));
    }
  };
  return (
    <Page title={here ? `Snapshots of ${here.app}` : 'Snapshots'} timed={false}>
      <div class="row"><SearchField label="Search snapshots" /></div>
      {error && <Failure error={error} />}
      <Loaded of={of}>{(data) => {
        const list = data.snapshots.filter((s) => `${s.title} ${s.app} ${s.env} ${s.author}`.toLowerCase().includes(q));
        return <Panel flush>{list.length === 0 ? <Empty title={q ? 'No snapshot matches' : 'Nothing was kept yet'}><p>“Snapshot” above a profile keeps what is shown, after retention has removed what it was made of, under a link for your team.</p></Empty>
          : <div class="table-scroll" tabIndex={0} role="region" aria-label="Snapshots"><table class="data">
            <thead><tr><th scope="col">Title</th><th scope="col">Application</th><th scope="col" class="wide-only">Type</th><th scope="col">Kept</th><th scope="col" class="wide-only">By</th><th scope="col" class="num wide-only">Size</th><th scope="col"><span class="sr">Delete</span></th></tr></thead>
            <tbody>{list.map((s) => (
              <tr key={s.id}>
                <td class="wrap"><a class="plain" href={`/s/${encodeURIComponent(s.id)}`}>{s.title || s.id}</a></td><td>{s.app} <span class="muted">{s.env}</span></td><td class="wide-only">{typeTitle(s.type)}</td>
                <td><Time ms={s.created_ms} relative /></td><td class="wide-only">{s.author}</td><td class="num wide-only">{bytes(s.bytes)}</td>
                <td class="num">{may('editor') && (asked === s.id ? <button type="button" class="button danger" onClick={() => void drop(s.id)}>Really delete</button> : <button type="button" class="button" onClick={() => setAsked(s.id)}>Delete</button>)}</td>
              </tr>
            ))}</tbody>
          </table></div>}</Panel>;
      }}</Loaded>
    </Page>
  );
}

export function SnapshotPage() {
  const id = segments.value[1] ?? '';
  const of = useData<Snapshot>(`/snapshots/${encodeURIComponent(id)}`);
  return (
    <Page title={of.data?.title || 'Snapshot'} timed={false}>
      <Loaded of={of}>{(s) => <>
        <div class="row small">
          <Pill tone="info">snapshot</Pill><span>{s.app} · {s.env}, {typeTitle(s.type)}</span><span class="muted">kept by {s.author || 'somebody'} <Time ms={s.created_ms} /></span>
          {/^\/a\//.test(s.path) && <a class="button" href={s.path}>Open the page it was made on</a>}
          <CopyButton text={window.location.href} label="Copy the link" />
        </div>
        {s.profile ? <ProfileView answer={s.profile} at={{from: s.profile.start_ms, to: s.profile.end_ms}} base={s.has_base ?? Boolean(s.profile.comparison) ? {from: s.profile.start_ms, to: s.profile.end_ms} : null} sources={[]} point={undefined} query={{app: s.app, env: s.env, snapshot: s.id}} kept label={s.type} />
          : <Panel><Empty title="This snapshot holds no profile" /></Panel>}
      </>}</Loaded>
    </Page>
  );
}
