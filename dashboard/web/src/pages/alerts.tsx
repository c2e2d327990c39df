// Alerts: what fires now, what did before, what is silenced.
import {useState} from 'preact/hooks';
import {remove} from '../api/client';
import type {Alert, Silence} from '../api/types';
import {useData} from '../app/resource';
import {context, hrefWith, param, path} from '../app/router';
import {may} from '../app/session';
import {now} from '../app/time';
import {Empty, Failure, Loaded, Panel, Time} from '../components/basics';
import {SearchField} from '../components/search_field';
import {Page} from '../components/topbar';
import {AlertList} from './alert_list';

function Tabs() {
  const history = path.value === '/alerts' && param('state') === 'history';
  const tab = (href: string, text: string, current: boolean) => <a href={href} {...(current ? {'aria-current': 'true' as const} : {})}>{text}</a>;
  return (
    <nav class="segmented" aria-label="Alerts">
      {tab(hrefWith({state: null, q: null}, '/alerts'), 'Firing', path.value === '/alerts' && !history)}
      {tab(hrefWith({state: 'history', q: null}, '/alerts'), 'History', history)}
      {tab(hrefWith({state: null, q: null}, '/silences'), 'Silences', path.value === '/silences')}
    </nav>
  );
}

export function Alerts() {
  const history = param('state') === 'history';
  const here = context.value;
  const of = useData<{alerts: Alert[]}>('/alerts', {...here, state: history ? '' : 'firing', t: now.value}, `alerts ${history} ${here?.app ?? ''} ${here?.env ?? ''}`);
  const q = param('q').toLowerCase();
  return (
    <Page title={here ? `Alerts of ${here.app}` : 'Alerts'} timed={false}>
      <div class="row"><Tabs /><SearchField label="Search alerts" />{here && <a class="button quiet" href={hrefWith({app: null, env: null})}>Of all applications</a>}</div>
      <Loaded of={of}>{(data) => {
        const list = data.alerts.filter((a) => history || a.state === 'firing' || a.state === 'pending')
          .filter((a) => `${a.rule} ${a.subject} ${a.summary} ${a.host} ${a.app} ${a.env}`.toLowerCase().includes(q))
          .sort((a, b) => (b.fired_ms || b.started_ms) - (a.fired_ms || a.started_ms));
        return <Panel flush>{list.length > 0 ? <AlertList alerts={list} onChange={of.reload} />
          : history ? <Empty title={q ? 'No alert matches' : 'No alert has fired yet'} causes={q ? [] : ['Nothing was wrong.', 'No rules are loaded: see Rules for their state and errors.']} />
            : <Empty title={q ? 'No alert matches' : 'Nothing fires'} causes={q ? [] : ['All is well.', 'Agents are silent: an agent that is not up cannot fire. See Sources.', 'No rules are loaded: see Rules.']} />}</Panel>;
      }}</Loaded>
    </Page>
  );
}

export function Silences() {
  const of = useData<{silences: Silence[]}>('/silences');
  const [error, setError] = useState<Error | null>(null);
  const end = async (id: number): Promise<void> => {
    try {
      await remove(`/silences/${id}`);
      setError(null);
      of.reload();
    } catch (cause) {
      setError(cause instanceof Error ? cause : new Error(String(cause)));
    }
  };
  return (
    <Page title="Silences" timed={false}>
      <div class="row"><Tabs /></div>
      {error && <Failure error={error} />}
      <Loaded of={of}>{(data) => <Panel flush>{data.silences.length === 0
        ? <Empty title="Nothing is silenced"><p>Silence an alert from its details: it goes on being recorded, and nobody is told until the silence ends.</p></Empty>
        : <div class="table-scroll" tabIndex={0} role="region" aria-label="Silences"><table class="data">
          <thead><tr><th scope="col">Matches</th><th scope="col">Comment</th><th scope="col">Until</th><th scope="col">By</th><th scope="col" /></tr></thead>
          <tbody>{data.silences.map((s) => (
            <tr key={s.id}>
              <td>{Object.entries(s.match).filter(([, v]) => v).map(([k, v]) => <span class="tag" key={k}>{k}={v}</span>)}</td>
              <td class="wrap">{s.comment}</td><td><Time ms={s.until_ms} /></td><td>{s.created_by}</td>
              <td class="num">{may('editor') && <button type="button" class="button" onClick={() => void end(s.id)}>End</button>}</td>
            </tr>
          ))}</tbody>
        </table></div>}</Panel>}</Loaded>
    </Page>
  );
}
