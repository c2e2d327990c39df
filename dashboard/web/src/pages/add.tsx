// "Add an application": a key, a snippet with everything filled in, and a wait that ends with the first report.
import {useEffect, useState} from 'preact/hooks';
import {ApiError, get, post} from '../api/client';
import type {AgentKey} from '../api/types';
import {appPath, param, setParams} from '../app/router';
import {may} from '../app/session';
import {Code, CopyButton, Failure, Field, Panel} from '../components/basics';
import {loadApps} from '../components/nav';
import {Page} from '../components/topbar';
import {type Language, LANGUAGES, snippet} from './snippets';

const POLL_MS = 2000;

function Waiting({app, env}: {app: string; env: string}) {
  const [received, setReceived] = useState<number | null>(null);
  const [problem, setProblem] = useState('');
  const [since] = useState(Date.now());
  const [waited, setWaited] = useState(0);
  useEffect(() => {
    if (received !== null) return undefined;
    let stopped = false;
    const ask = async (): Promise<void> => {
      try {
        const answer = await get('/first-report', {app, env}) as {received: boolean; t: number | null};
        if (stopped) return;
        setProblem('');
        if (answer.received) {
          setReceived(answer.t ?? Date.now());
          void loadApps();
        }
      } catch (cause) {
        if (!stopped) setProblem(cause instanceof Error ? cause.message : String(cause));
      }
      setWaited(Math.round((Date.now() - since) / 1000));
    };
    void ask();
    const timer = window.setInterval(() => void ask(), POLL_MS);
    return () => {
      stopped = true;
      window.clearInterval(timer);
    };
  }, [received !== null, app, env]);
  if (received !== null) {
    return (
      <div class="waiting done" role="status">
        <span class="grow"><strong>First report received</strong> from {app} in {env}.</span>
        <a class="button primary" href={appPath(app, env, 'overview') + '?range=5m'}>Open {app}</a>
      </div>
    );
  }
  return (
    <div class="stack tight">
      <div class="waiting" role="status"><span>Waiting for the first report of <strong>{app}</strong> in <strong>{env}</strong>…</span></div>
      {problem && <p class="small bad">{problem}</p>}
      {waited > 40 && (
        <p class="small muted">An agent sends its first report within half a minute. Nothing after {waited} s: is the program still running, does it reach <code>{window.location.origin}</code>, and what does its standard error say about the agent key?</p>
      )}
    </div>
  );
}

function KeyForm({onKey}: {onKey: (key: AgentKey, app: string, env: string) => void}) {
  const [app, setApp] = useState(param('app'));
  const [env, setEnv] = useState(param('env') || 'production');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<Error | null>(null);
  const create = async (): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      const key = await post('/keys', {app: app.trim(), environment: env.trim(), label: `${app.trim()} ${env.trim()}`}) as AgentKey;
      onKey(key, app.trim(), env.trim());
    } catch (cause) {
      setError(cause instanceof Error ? cause : new Error(String(cause)));
    } finally {
      setBusy(false);
    }
  };
  const refused = error instanceof ApiError && error.status === 403;
  return (
    <form class="stack" onSubmit={(event) => { event.preventDefault(); void create(); }}>
      <div class="grid two">
        <Field label="Application" hint="What the service is called, such as shop"><input class="input" required maxLength={95} name="app" value={app} onInput={(e) => setApp(e.currentTarget.value)} /></Field>
        <Field label="Environment" hint="production, staging, a developer’s machine, …"><input class="input" required maxLength={95} name="env" value={env} onInput={(e) => setEnv(e.currentTarget.value)} /></Field>
      </div>
      {error && <Failure error={refused ? new Error('Only administrators create agent keys. Ask one, then follow the snippet with that key.') : error} />}
      <div><button class="button primary big" type="submit" disabled={busy || !app.trim() || !env.trim()}>Create a key</button></div>
    </form>
  );
}

export function AddApplication() {
  const [made, setMade] = useState<{key: string; app: string; env: string} | null>(null);
  const asked = param('lang');
  const language: Language = LANGUAGES.find((l) => l.id === asked)?.id ?? 'run';
  const wanted = {url: window.location.origin, key: made?.key ?? 'si_…', app: made?.app ?? 'shop', env: made?.env ?? 'production'};
  const text = snippet(language, wanted);
  return (
    <Page title="Add an application" timed={false}>
      <Panel title="1. A key for its agents">
        {made ? (
          <div class="stack tight">
            <div class="row"><code class="tag">{made.key}</code><CopyButton text={made.key} label="Copy the key" /></div>
            <p class="small muted">Shown once: only its fingerprint is kept here. It is already in the snippet below. Lost keys are replaced under Settings, agent keys.</p>
          </div>
        ) : may('admin') ? <KeyForm onKey={(key, app, env) => setMade({key: key.key ?? '', app, env})} />
          : <p class="notice">You may look but not change. Ask an administrator for an agent key; the snippets below show where it goes.</p>}
      </Panel>
      <Panel title="2. Start it observed" actions={
        <div class="segmented" role="group" aria-label="Language">
          {LANGUAGES.map((l) => <button type="button" key={l.id} aria-pressed={l.id === language} onClick={() => setParams({lang: l.id === 'run' ? null : l.id}, true)}>{l.label}</button>)}
        </div>}>
        <Code key={language} text={text} label={`Snippet: ${LANGUAGES.find((l) => l.id === language)?.label ?? ''}`} />
      </Panel>
      <Panel title="3. See it arrive">
        {made ? <Waiting app={made.app} env={made.env} /> : <p class="muted">Create a key first; this line then waits for the first report.</p>}
      </Panel>
    </Page>
  );
}
