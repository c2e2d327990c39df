// Opens a pprof file, of Go, Python or any other program: it becomes an application of its own, with all that profiles have here.
import {useState} from 'preact/hooks';
import {queryString, upload} from '../api/client';
import type {Imported} from '../api/types';
import {bytes, inUnit, plural} from '../app/format';
import {appPath, param} from '../app/router';
import {may} from '../app/session';
import {Failure, Field, Panel, Time} from '../components/basics';
import {loadApps} from '../components/nav';
import {Page} from '../components/topbar';
import {typeTitle} from '../profile/measure';

const MAX_BYTES = 8 * 1024 * 1024;
const HOUR_MS = 3_600_000;

function Result({done}: {done: Imported}) {
  const range = `from=${done.start_ms - HOUR_MS}&to=${done.start_ms + HOUR_MS}`;
  return (
    <Panel title={done.status === 'duplicate' ? 'This file is here already' : 'The file is here'}>
      <div class="stack">
        <p>As application <strong>{done.app}</strong>, environment <strong>{done.env}</strong>, of <Time ms={done.start_ms} />{done.moved ? ' (moved to now: it is older than what is kept)' : ''}.</p>
        <div class="row">{done.profiles.map((p) => <a class="button primary" key={p.type} href={`${appPath(done.app, done.env, 'profiles/' + encodeURIComponent(p.type))}?${range}&view=flame`}>{typeTitle(p.type)}: {inUnit(p.total, p.unit)} in {plural(p.samples, 'sample')}</a>)}</div>
        {(done.cut_stacks ?? 0) > 0 && <p class="muted small">{plural(done.cut_stacks ?? 0, 'stack')} of {plural(done.stacks ?? 0, 'stack')} were too deep to keep whole: their deepest calls count for their callers.</p>}
      </div>
    </Panel>
  );
}

export function ImportPage() {
  const [app, setApp] = useState(param('app') || 'imported');
  const [env, setEnv] = useState(param('env') || 'files');
  const [file, setFile] = useState<File | null>(null);
  const [busy, setBusy] = useState(false);
  const [over, setOver] = useState(false);
  const [error, setError] = useState<Error | null>(null);
  const [done, setDone] = useState<Imported | null>(null);
  const choose = (chosen: File | undefined): void => {
    if (!chosen) return;
    setFile(chosen);
    setDone(null);
    setError(chosen.size > MAX_BYTES ? new Error(`The file is ${bytes(chosen.size)}; at most ${bytes(MAX_BYTES)} are taken.`) : null);
  };
  const send = async (): Promise<void> => {
    if (!file) return;
    setBusy(true);
    try {
      setDone(await upload('/profiles/import' + queryString({app: app.trim(), env: env.trim(), name: file.name}), file) as Imported);
      setError(null);
      void loadApps();
    } catch (cause) {
      setDone(null);
      setError(cause instanceof Error ? cause : new Error(String(cause)));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Page title="Open a pprof file" timed={false}>
      <Panel title="A profile of any program">
        {may('editor') ? (
          <form class="stack" onSubmit={(event) => { event.preventDefault(); void send(); }}>
            <label class={'drop' + (over ? ' over' : '')} onDragOver={(event) => { event.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)}
              onDrop={(event) => { event.preventDefault(); setOver(false); choose(event.dataTransfer?.files[0]); }}>
              <input type="file" class="sr" aria-label="pprof file" onChange={(event) => choose(event.currentTarget.files?.[0])} />
              {file ? <span><strong>{file.name}</strong> <span class="muted">{bytes(file.size)}</span></span> : <span>Drop a pprof file here, or <span class="link">choose one</span></span>}
              <small class="muted">As <code>go tool pprof</code>, <code>py-spy --format pprof</code> or <code>/debug/pprof</code> write it: .pb.gz, .pprof, .prof; at most 8 MiB</small>
            </label>
            <div class="grid two">
              <Field label="Application" hint="Made when it does not exist"><input class="input" required maxLength={95} name="app" value={app} onInput={(e) => setApp(e.currentTarget.value)} /></Field>
              <Field label="Environment"><input class="input" required maxLength={95} name="env" value={env} onInput={(e) => setEnv(e.currentTarget.value)} /></Field>
            </div>
            {error && <Failure error={error} />}
            <div><button class="button primary big" type="submit" disabled={busy || !file || file.size > MAX_BYTES || !app.trim() || !env.trim()}>{busy ? 'Reading…' : 'Open it'}</button></div>
          </form>
        ) : <p class="notice">You may look but not change: editors open files here.</p>}
      </Panel>
      {done && <Result done={done} />}
    </Page>
  );
}
