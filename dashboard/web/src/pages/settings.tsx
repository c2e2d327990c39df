// Settings: team and agent keys here, the rest beside this file. Each shows what the signed-in role may do and says so where it may not.
import {useState} from 'preact/hooks';
import {ApiError, post, remove} from '../api/client';
import type {AgentKey, Role, User} from '../api/types';
import {useData} from '../app/resource';
import {segments} from '../app/router';
import {user} from '../app/session';
import {CopyButton, Empty, Failure, Field, Loaded, Panel, Pill, Time} from '../components/basics';
import {Dialog} from '../components/dialogs';
import {apps} from '../components/nav';
import {Account} from './settings_account';
import {Settings, Sure, useAction} from './settings_parts';
import {Audit, Channels, RetentionPage} from './settings_store';

const ROLES: Role[] = ['viewer', 'editor', 'admin'];
const ROLE_HELP: Record<Role, string> = {viewer: 'sees everything', editor: 'also acknowledges and silences', admin: 'also manages people and keys'};

function listOf<T>(data: unknown, name: string): T[] {
  const inner = (data as Record<string, unknown> | undefined)?.[name];
  return Array.isArray(inner) ? inner as T[] : [];
}

function InviteForm({onDone}: {onDone: () => void}) {
  const [email, setEmail] = useState('');
  const [role, setRole] = useState<Role>('viewer');
  const [link, setLink] = useState('');
  const {error, busy, act} = useAction();
  return (
    <form class="stack" onSubmit={(event) => {
      event.preventDefault();
      act(async () => {
        const answer = await post('/users', {email, role}) as {invite_url: string};
        setLink(new URL(answer.invite_url, window.location.origin).href);
        setEmail('');
        onDone();
      });
    }}>
      <div class="grid two">
        <Field label="E-mail"><input class="input" type="email" required name="email" value={email} onInput={(e) => setEmail(e.currentTarget.value)} /></Field>
        <Field label="Role" hint={ROLE_HELP[role]}><select class="input" name="role" value={role} onChange={(e) => setRole(e.currentTarget.value as Role)}>{ROLES.map((r) => <option key={r} value={r}>{r}</option>)}</select></Field>
      </div>
      {error && <Failure error={error} />}
      <div><button class="button primary" type="submit" disabled={busy}>Make an invitation</button></div>
      {link && <div class="notice good stack tight" role="status"><span>Send this link to them yourself; it works once.</span><code class="tag">{link}</code><div><CopyButton text={link} label="Copy the link" /></div></div>}
    </form>
  );
}

interface Invitation {
  id: number | string;
  email: string;
  role: Role;
  expires_ms: number;
}

function Invitations({turn}: {turn: number}) {
  const of = useData<unknown>('/invitations', {t: turn}, 'invitations');
  const {error, busy, act} = useAction();
  const list = listOf<Invitation>(of.data, 'invitations');
  if (list.length === 0) return error ? <Failure error={error} /> : null;
  return (
    <Panel flush title="Invited, not here yet">{error && <Failure error={error} />}<div class="table-scroll" tabIndex={0} role="region" aria-label="Invitations"><table class="data">
      <thead><tr><th scope="col">E-mail</th><th scope="col">Role</th><th scope="col">Until</th><th scope="col"><span class="sr">Withdraw</span></th></tr></thead>
      <tbody>{list.map((i) => <tr key={i.id}><td>{i.email}</td><td>{i.role}</td><td><Time ms={i.expires_ms} /></td>
        <td class="num"><Sure text="Withdraw" sure="Really withdraw" busy={busy} onSure={() => act(async () => { await remove(`/invitations/${encodeURIComponent(String(i.id))}`); of.reload(); })} /></td></tr>)}</tbody>
    </table></div></Panel>
  );
}

function Team() {
  const of = useData<unknown>('/users');
  const [turn, setTurn] = useState(0);
  const {error, busy, act} = useAction();
  const change = (id: number, body: unknown): void => act(async () => {
    await post(`/users/${id}`, body);
    of.reload();
  });
  return (
    <Settings title="Team" admin>{() => <>
      <Panel title="Invite somebody"><InviteForm onDone={() => { of.reload(); setTurn(turn + 1); }} /></Panel>
      {error && <Failure error={error} />}
      <Loaded of={of}>{(data) => (
        <Panel flush title="People"><div class="table-scroll" tabIndex={0} role="region" aria-label="People"><table class="data">
          <thead><tr><th scope="col">Name</th><th scope="col">E-mail</th><th scope="col">Role</th><th scope="col">State</th><th scope="col" class="wide-only">Seen</th><th scope="col"><span class="sr">Change</span></th></tr></thead>
          <tbody>{listOf<User>(data, 'users').map((u) => (
            <tr key={u.id}>
              <td>{u.name || <span class="muted">invited</span>}</td><td>{u.email}</td>
              <td><select class="input" aria-label={`Role of ${u.email}`} value={u.role} disabled={busy || u.id === user.value?.id} onChange={(e) => change(u.id, {role: e.currentTarget.value})}>{ROLES.map((r) => <option key={r} value={r}>{r}</option>)}</select></td>
              <td>{u.disabled ? <Pill tone="bad">locked out</Pill> : u.pending ? <Pill tone="warn">invited</Pill> : <Pill tone="good">active</Pill>}</td>
              <td class="wide-only"><Time ms={u.last_seen_ms} relative /></td>
              <td class="num">{u.id !== user.value?.id && <button type="button" class="button" disabled={busy} onClick={() => change(u.id, {disabled: !u.disabled})}>{u.disabled ? 'Let in again' : 'Lock out'}</button>}</td>
            </tr>
          ))}</tbody>
        </table></div></Panel>
      )}</Loaded>
      <Invitations turn={turn} />
    </>}</Settings>
  );
}

const reads = (key: AgentKey): boolean => key.purpose === 'read';

/* A new key: the next of a place, to which agents are moved before the first is revoked, or one that reads. */
function MadeKey({made, next, onClose}: {made: AgentKey | null; next: boolean; onClose: () => void}) {
  return (
    <Dialog open={made !== null} onClose={onClose} label="The new key"><div class="stack">
      <h1>{next ? 'The next key' : 'A reading key'} of {made?.app}, {made?.environment}</h1>
      <div class="row"><code class="tag">{made?.key}</code><CopyButton text={made?.key ?? ''} label="Copy the key" /></div>
      <p class="muted small">Shown once. {next ? `Both keys work now: give this one to all ${made && reads(made) ? 'readers' : 'agents'}, look at “last used” of the old one, then revoke it.`
        : <>Grafana and others send it as <code>Authorization: Bearer</code> and see what is told about this application and environment, nothing else.</>}</p>
      <div><button type="button" class="button" onClick={onClose}>Close</button></div>
    </div></Dialog>
  );
}

function ReadingKeyForm({onMade}: {onMade: (key: AgentKey) => void}) {
  const list = apps.value ?? [];
  const [place, setPlace] = useState('0');
  const [label, setLabel] = useState('');
  const {error, busy, act} = useAction();
  const of = list[Number(place)];
  if (!of) return <p class="muted small">There is nothing to read yet: no application reports.</p>;
  return (
    <form class="stack" onSubmit={(event) => {
      event.preventDefault();
      act(async () => {
        onMade(await post('/keys', {app: of.app, environment: of.env, label, purpose: 'read'}) as AgentKey);
        setLabel('');
      });
    }}>
      <div class="grid two">
        <Field label="Application"><select class="input" name="place" value={place} onChange={(e) => setPlace(e.currentTarget.value)}>{list.map((a, i) => <option key={`${a.app}\n${a.env}`} value={i}>{a.app}, {a.env}</option>)}</select></Field>
        <Field label="Label" hint="who reads with it"><input class="input" name="label" placeholder="Grafana" maxLength={60} value={label} onInput={(e) => setLabel(e.currentTarget.value)} /></Field>
      </div>
      {error && <Failure error={keyError(error)} />}
      <div><button class="button" type="submit" disabled={busy}>Make a reading key</button></div>
    </form>
  );
}

function keyError(error: Error): Error {
  return error instanceof ApiError && error.code === 'two_live' ? new Error('It has two live keys already: revoke the old one first.') : error;
}

const MOST_LIVE = 2; // of one place and purpose, as the server has it

function Keys() {
  const of = useData<unknown>('/keys');
  const {error, busy, act} = useAction();
  const [made, setMade] = useState<AgentKey | null>(null);
  const [next, setNext] = useState(false);
  const rotate = (key: AgentKey): void => act(async () => {
    setMade(await post('/keys', {app: key.app, environment: key.environment, label: key.label, purpose: key.purpose ?? 'report'}) as AgentKey);
    setNext(true);
    of.reload();
  });
  return (
    <Settings title="Agent keys" admin>{() => <>
      {error && <Failure error={keyError(error)} />}
      <MadeKey made={made} next={next} onClose={() => setMade(null)} />
      <Loaded of={of}>{(data) => {
        const keys = listOf<AgentKey>(data, 'keys');
        const live = (k: AgentKey): boolean => !k.revoked && !k.revoked_ms;
        const isFull = (k: AgentKey): boolean => keys.filter((other) => live(other) && other.app === k.app && other.environment === k.environment && reads(other) === reads(k)).length >= MOST_LIVE;
        const newest = (k: AgentKey): boolean => !keys.some((other) => live(other) && other.app === k.app && other.environment === k.environment && reads(other) === reads(k) && (other.created_ms ?? 0) > (k.created_ms ?? 0));
        return (
          <Panel flush title="Keys of applications" actions={<a class="button primary" href="/add">New agent key</a>} footer="At most two keys of a place and purpose are live at once, the old one and the next: rotate, give the agents the new key, then revoke the old one.">
            {keys.length === 0 ? <Empty title="No agent key yet"><p>A key lets agents of one application and environment report here.</p></Empty>
              : <div class="table-scroll" tabIndex={0} role="region" aria-label="Agent keys"><table class="data">
                <thead><tr><th scope="col">Key</th><th scope="col">Application</th><th scope="col">Environment</th><th scope="col">For</th><th scope="col" class="wide-only">Label</th><th scope="col">Made</th><th scope="col">Last used</th><th scope="col"><span class="sr">Change</span></th></tr></thead>
                <tbody>{keys.map((k) => (
                  <tr key={k.id}>
                    <td class="mono">si_{k.id}_…</td><td>{k.app}</td><td>{k.environment}</td><td>{reads(k) ? 'reading' : 'agents'}</td><td class="wide-only">{k.label}</td><td><Time ms={k.created_ms} relative /></td><td><Time ms={k.last_used_ms} relative /></td>
                    <td class="num">{!live(k) ? <Pill>revoked</Pill> : <span class="row end nowrap">
                      {newest(k) && <button type="button" class="button" disabled={busy || isFull(k)} title={isFull(k) ? 'Two keys are live here already: revoke the old one first' : 'Make the next key of this place'} onClick={() => rotate(k)}>Rotate</button>}
                      <Sure text="Revoke" sure="Really revoke" busy={busy} onSure={() => act(async () => { await remove(`/keys/${k.id}`); of.reload(); })} />
                    </span>}</td>
                  </tr>
                ))}</tbody>
              </table></div>}
          </Panel>
        );
      }}</Loaded>
      <Panel title="A key for reading"><ReadingKeyForm onMade={(key) => { setMade(key); setNext(false); of.reload(); }} /></Panel>
    </>}</Settings>
  );
}

export function SettingsPage() {
  switch (segments.value[1]) {
    case 'team': return <Team />;
    case 'audit': return <Audit />;
    case 'channels': return <Channels />;
    case 'retention': return <RetentionPage />;
    case 'sessions': return <Account />;
    default: return <Keys />;
  }
}
