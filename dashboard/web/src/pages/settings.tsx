// Settings: team, agent keys, audit. Each shows what the signed-in role may do and says so where it may not.
import type {ComponentChildren} from 'preact';
import {useState} from 'preact/hooks';
import {post, remove} from '../api/client';
import type {AgentKey, AuditEntry, Role, User} from '../api/types';
import {useData} from '../app/resource';
import {path, segments} from '../app/router';
import {may, user} from '../app/session';
import {CopyButton, Empty, Failure, Field, Loaded, Panel, Pill, Time} from '../components/basics';
import {Page} from '../components/topbar';

const ROLES: Role[] = ['viewer', 'editor', 'admin'];
const ROLE_HELP: Record<Role, string> = {viewer: 'sees everything', editor: 'also acknowledges and silences', admin: 'also manages people and keys'};

function Settings({title, children}: {title: string; children: ComponentChildren}) {
  const tab = (href: string, text: string) => <a href={href} {...(path.value === href ? {'aria-current': 'true' as const} : {})}>{text}</a>;
  return (
    <Page title={title} timed={false}>
      <nav class="row" aria-label="Settings"><div class="segmented">{tab('/settings/team', 'Team')}{tab('/settings/keys', 'Agent keys')}{tab('/settings/audit', 'Audit')}</div></nav>
      {children}
    </Page>
  );
}

/* The list under `name`, whether the answer is bare or wrapped. */
function listOf<T>(data: unknown, name: string): T[] {
  if (Array.isArray(data)) return data as T[];
  const inner = (data as Record<string, unknown> | undefined)?.[name];
  return Array.isArray(inner) ? inner as T[] : [];
}

function useAction(): {error: Error | null; busy: boolean; act: (what: () => Promise<void>) => void} {
  const [error, setError] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const run = async (what: () => Promise<void>): Promise<void> => {
    setBusy(true);
    try {
      await what();
      setError(null);
    } catch (cause) {
      setError(cause instanceof Error ? cause : new Error(String(cause)));
    } finally {
      setBusy(false);
    }
  };
  return {error, busy, act: (what) => void run(what)};
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

function Team() {
  const of = useData<unknown>('/users');
  const {error, busy, act} = useAction();
  const change = (id: number, body: unknown): void => act(async () => {
    await post(`/users/${id}`, body);
    of.reload();
  });
  return (
    <Settings title="Team">
      <Panel title="Invite somebody"><InviteForm onDone={of.reload} /></Panel>
      {error && <Failure error={error} />}
      <Loaded of={of}>{(data) => (
        <Panel flush title="People"><div class="table-scroll" tabIndex={0} role="region" aria-label="People"><table class="data">
          <thead><tr><th scope="col">Name</th><th scope="col">E-mail</th><th scope="col">Role</th><th scope="col">State</th><th scope="col" /></tr></thead>
          <tbody>{listOf<User>(data, 'users').map((u) => (
            <tr key={u.id}>
              <td>{u.name || <span class="muted">invited</span>}</td><td>{u.email}</td>
              <td><select class="input" aria-label={`Role of ${u.email}`} value={u.role} disabled={busy || u.id === user.value?.id} onChange={(e) => change(u.id, {role: e.currentTarget.value})}>{ROLES.map((r) => <option key={r} value={r}>{r}</option>)}</select></td>
              <td>{u.disabled ? <Pill tone="bad">locked out</Pill> : u.pending ? <Pill tone="warn">invited</Pill> : <Pill tone="good">active</Pill>}</td>
              <td class="num">{u.id !== user.value?.id && <button type="button" class="button" disabled={busy} onClick={() => change(u.id, {disabled: !u.disabled})}>{u.disabled ? 'Let in again' : 'Lock out'}</button>}</td>
            </tr>
          ))}</tbody>
        </table></div></Panel>
      )}</Loaded>
    </Settings>
  );
}

function Keys() {
  const of = useData<unknown>('/keys');
  const {error, busy, act} = useAction();
  const [asked, setAsked] = useState<string | number>('');
  return (
    <Settings title="Agent keys">
      {error && <Failure error={error} />}
      <Loaded of={of}>{(data) => {
        const keys = listOf<AgentKey>(data, 'keys');
        return (
          <Panel flush title="Keys that agents report with" actions={<a class="button primary" href="/add">New key</a>}>
            {keys.length === 0 ? <Empty title="No agent key yet"><p>A key lets agents of one application and environment report here.</p></Empty>
              : <div class="table-scroll" tabIndex={0} role="region" aria-label="Agent keys"><table class="data">
                <thead><tr><th scope="col">Key</th><th scope="col">Application</th><th scope="col">Environment</th><th scope="col" class="wide-only">Label</th><th scope="col">Made</th><th scope="col">Last used</th><th scope="col" /></tr></thead>
                <tbody>{keys.map((k) => {
                  const revoked = Boolean(k.revoked) || Boolean(k.revoked_ms);
                  return (
                    <tr key={k.id}>
                      <td class="mono">si_{k.id}_…</td><td>{k.app}</td><td>{k.environment}</td><td class="wide-only">{k.label}</td><td><Time ms={k.created_ms} relative /></td><td><Time ms={k.last_used_ms} relative /></td>
                      <td class="num">{revoked ? <Pill>revoked</Pill> : may('admin') && (asked === k.id
                        ? <button type="button" class="button danger" disabled={busy} onClick={() => act(async () => { await remove(`/keys/${k.id}`); setAsked(''); of.reload(); })}>Really revoke</button>
                        : <button type="button" class="button" onClick={() => setAsked(k.id)}>Revoke</button>)}</td>
                    </tr>
                  );
                })}</tbody>
              </table></div>}
          </Panel>
        );
      }}</Loaded>
    </Settings>
  );
}

function Audit() {
  const of = useData<unknown>('/audit');
  return (
    <Settings title="Audit">
      <Loaded of={of}>{(data) => (
        <Panel flush><div class="table-scroll" tabIndex={0} role="region" aria-label="Audit"><table class="data">
          <thead><tr><th scope="col">When</th><th scope="col">Who</th><th scope="col">What</th><th scope="col">On</th><th scope="col">From</th></tr></thead>
          <tbody>{listOf<AuditEntry>(data, 'audit').map((a, i) => <tr key={i}><td><Time ms={a.time_ms} /></td><td>{a.user}</td><td>{a.action}</td><td class="wrap">{a.target}</td><td class="mono">{a.address}</td></tr>)}</tbody>
        </table></div></Panel>
      )}</Loaded>
    </Settings>
  );
}

export function SettingsPage() {
  if (!may('admin')) return <Settings title="Settings"><Panel><Empty title="Only administrators change settings"><p>You are signed in as {user.value?.role}. Ask an administrator for an agent key, an invitation or another role.</p></Empty></Panel></Settings>;
  switch (segments.value[1]) {
    case 'team': return <Team />;
    case 'audit': return <Audit />;
    default: return <Keys />;
  }
}
