// The pages before one is signed in: set-up, sign-in, sign-in link, invitation.
import type {ComponentChildren} from 'preact';
import {useEffect, useState} from 'preact/hooks';
import {ApiError} from '../api/client';
import {navigate, param} from '../app/router';
import {enter, safeNext, session, unreachable, loadSession} from '../app/session';
import {Field} from '../components/basics';
import {Logo} from '../components/icon';

function Gate({title, lead, children}: {title: string; lead?: ComponentChildren; children: ComponentChildren}) {
  document.title = `${title} · si`;
  return (
    <main class="gate" id="main" tabIndex={-1}>
      <div>
        <span class="brand"><Logo />si</span>
        <section class="panel"><h1>{title}</h1>{lead !== undefined && <p class="muted">{lead}</p>}{children}</section>
      </div>
    </main>
  );
}

interface Form {
  busy: boolean;
  error: string;
  field: string;
  submit: (event: Event) => void;
}

/* One POST that lets somebody in; its failure is said where it belongs. */
function useEntrance(path: string, body: () => unknown, after: () => void, check: () => string = () => ''): Form {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const [field, setField] = useState('');
  const run = async (): Promise<void> => {
    const wrong = check();
    setError(wrong);
    setField('');
    if (wrong) return;
    setBusy(true);
    try {
      await enter(path, body());
      after();
    } catch (cause) {
      setError(cause instanceof Error ? cause.message : String(cause));
      setField(cause instanceof ApiError ? cause.field : '');
    } finally {
      setBusy(false);
    }
  };
  return {busy, error, field, submit: (event) => { event.preventDefault(); void run(); }};
}

function Problem({form}: {form: Form}) {
  return form.error ? <p class="notice bad" role="alert">{form.error}</p> : null;
}

const MIN_PASSWORD = 10;

function checkPassword(password: string): string {
  return password.length < MIN_PASSWORD ? `The password needs at least ${MIN_PASSWORD} characters.` : '';
}

export function SetUp() {
  const [name, setName] = useState('');
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const token = param('token');
  const form = useEntrance('/setup', () => ({token, email, name, password}), () => navigate('/', true), () => checkPassword(password));
  if (!token) {
    return (
      <Gate title="Set up this dashboard">
        <p>Open the set-up link that <code>si-dashboard</code> printed in its terminal when it started. It ends in <code>/setup?token=…</code> and proves that you run this machine.</p>
        <p class="muted small">Gone? Restart <code>si-dashboard</code>: while there is no user it prints a new one.</p>
      </Gate>
    );
  }
  return (
    <Gate title="Set up this dashboard" lead="You become its first administrator. Others join by invitation.">
      <form class="stack" onSubmit={form.submit}>
        <Field label="Your name"><input class="input" required autoComplete="name" name="name" value={name} onInput={(e) => setName(e.currentTarget.value)} /></Field>
        <Field label="E-mail"><input class="input" required type="email" autoComplete="username" name="email" value={email} onInput={(e) => setEmail(e.currentTarget.value)} /></Field>
        <Field label="Password" hint={`At least ${MIN_PASSWORD} characters`}><input class="input" required type="password" autoComplete="new-password" name="password" value={password} onInput={(e) => setPassword(e.currentTarget.value)} /></Field>
        <Problem form={form} />
        <button class="button primary big" disabled={form.busy} type="submit">Create the administrator</button>
      </form>
    </Gate>
  );
}

export function SignIn() {
  const token = param('token');
  return token ? <SignInByLink token={token} /> : <SignInByPassword />;
}

function SignInByPassword() {
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const form = useEntrance('/sign-in', () => ({email, password}), () => navigate(safeNext(param('next')), true));
  return (
    <Gate title="Sign in">
      <form class="stack" onSubmit={form.submit}>
        <Field label="E-mail"><input class="input" required type="email" autoComplete="username" name="email" value={email} onInput={(e) => setEmail(e.currentTarget.value)} /></Field>
        <Field label="Password"><input class="input" required type="password" autoComplete="current-password" name="password" value={password} onInput={(e) => setPassword(e.currentTarget.value)} /></Field>
        <Problem form={form} />
        <button class="button primary big" disabled={form.busy} type="submit">Sign in</button>
      </form>
      <p class="muted small">Forgotten, or no account yet? Ask an administrator of this dashboard for an invitation.</p>
    </Gate>
  );
}

function SignInByLink({token}: {token: string}) {
  const form = useEntrance('/sign-in-link', () => ({token}), () => navigate(safeNext(param('next')), true));
  useEffect(() => form.submit(new Event('submit')), [token]);
  return (
    <Gate title="Signing in">
      {form.error ? <><Problem form={form} /><p>A link works once. <a href="/sign-in">Sign in with a password</a>, or use the newest link from the terminal.</p></> : <p role="status">One moment…</p>}
    </Gate>
  );
}

export function Invite() {
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const token = param('token');
  const form = useEntrance('/invite', () => ({token, name, password}), () => navigate('/', true), () => checkPassword(password));
  return (
    <Gate title="Accept the invitation" lead="Choose how you are called and a password.">
      <form class="stack" onSubmit={form.submit}>
        <Field label="Your name"><input class="input" required autoComplete="name" name="name" value={name} onInput={(e) => setName(e.currentTarget.value)} /></Field>
        <Field label="Password" hint={`At least ${MIN_PASSWORD} characters`}><input class="input" required type="password" autoComplete="new-password" name="password" value={password} onInput={(e) => setPassword(e.currentTarget.value)} /></Field>
        {!token && <p class="notice warn" role="alert">This address has no invitation in it. Open the whole link that you were sent.</p>}
        <Problem form={form} />
        <button class="button primary big" disabled={form.busy || !token} type="submit">Join</button>
      </form>
    </Gate>
  );
}

export function Unreachable() {
  return (
    <Gate title="The dashboard does not answer">
      <p role="alert">{unreachable.value}</p>
      <button class="button big" type="button" onClick={() => { session.value = null; void loadSession(); }}>Try again</button>
    </Gate>
  );
}
