// Settings: one's own password, and the sessions that are open.
import {useState} from 'preact/hooks';
import {post, remove} from '../api/client';
import type {UserSession} from '../api/types';
import {useData} from '../app/resource';
import {hrefWith, param} from '../app/router';
import {may, signOut, user} from '../app/session';
import {Failure, Field, Loaded, Panel, Pill, Time} from '../components/basics';
import {Settings, Sure, useAction} from './settings_parts';

const MIN_PASSWORD = 10;

function Password() {
  const [current, setCurrent] = useState('');
  const [password, setPassword] = useState('');
  const [done, setDone] = useState(false);
  const {error, busy, act} = useAction();
  return (
    <form class="stack" onSubmit={(event) => {
      event.preventDefault();
      setDone(false);
      act(async () => {
        if (password.length < MIN_PASSWORD) throw new Error(`The password needs at least ${MIN_PASSWORD} characters.`);
        await post('/password', {...(current ? {current} : {}), password});
        setCurrent('');
        setPassword('');
        setDone(true);
      });
    }}>
      <input class="sr" type="text" autoComplete="username" aria-hidden="true" tabIndex={-1} readOnly value={user.value?.email ?? ''} />
      <div class="grid two">
        <Field label="Current password" hint="Leave it empty if you never had one"><input class="input" type="password" autoComplete="current-password" value={current} onInput={(e) => setCurrent(e.currentTarget.value)} /></Field>
        <Field label="New password" hint={`At least ${MIN_PASSWORD} characters`}><input class="input" required type="password" autoComplete="new-password" value={password} onInput={(e) => setPassword(e.currentTarget.value)} /></Field>
      </div>
      {error && <Failure error={error} />}
      {done && <p class="notice good" role="status">Changed. Your other sessions have ended.</p>}
      <div><button class="button primary" type="submit" disabled={busy}>Change the password</button></div>
    </form>
  );
}

export function Account() {
  const all = param('all') === '1' && may('admin');
  const of = useData<{sessions: UserSession[]}>('/sessions', {all: all ? 1 : ''}, `sessions ${all}`);
  const {error, busy, act} = useAction();
  const end = (s: UserSession): void => act(async () => {
    if (s.current) return signOut();
    await remove(`/sessions/${encodeURIComponent(String(s.id))}`);
    of.reload();
    return undefined;
  });
  return (
    <Settings title="Account and sessions">{() => <>
      <Panel title={<>Password of {user.value?.name || user.value?.email}</>}><Password /></Panel>
      {error && <Failure error={error} />}
      <Loaded of={of}>{(data) => (
        <Panel flush title={all ? 'Everybody’s sessions' : 'Your sessions'} actions={may('admin') && <a class="button" href={hrefWith({all: all ? null : 1})}>{all ? 'Only yours' : 'Of everybody'}</a>} footer="A session ends 12 hours after its last use, and after 7 days.">
          <div class="table-scroll" tabIndex={0} role="region" aria-label="Sessions"><table class="data">
            <thead><tr>{all && <th scope="col">Who</th>}<th scope="col">From</th><th scope="col">Since</th><th scope="col">Last used</th><th scope="col"><span class="sr">End</span></th></tr></thead>
            <tbody>{data.sessions.map((s) => (
              <tr key={s.id}>{all && <td>{s.user || s.email}</td>}<td><span class="mono">{s.address}</span> {s.current && <Pill tone="good">this one</Pill>}</td><td><Time ms={s.created_ms} /></td><td><Time ms={s.used_ms} relative /></td>
                <td class="num"><Sure text="End" sure={s.current ? 'Really sign out' : 'Really end'} busy={busy} onSure={() => end(s)} /></td></tr>
            ))}</tbody>
          </table></div>
        </Panel>
      )}</Loaded>
    </>}</Settings>
  );
}
