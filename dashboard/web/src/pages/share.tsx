// Share and export: a snapshot that outlives retention, and files.
import {useState} from 'preact/hooks';
import {post, type Query, queryString} from '../api/client';
import {context, segments} from '../app/router';
import {may} from '../app/session';
import {CopyButton, Failure, Field, Popover} from '../components/basics';
import {Dialog} from '../components/dialogs';
import {save} from '../profile/saving';

const FORMATS: [string, string][] = [['pprof', 'pprof (.pb.gz)'], ['folded', 'Folded stacks (.txt)'], ['speedscope', 'speedscope (.json)'], ['json', 'JSON']];

/** The flame graph as it is shown, in the file's own resolution. */
function savePicture(): void {
  const canvas = document.querySelector<HTMLCanvasElement>('.flame canvas');
  canvas?.toBlob((blob) => { if (blob) save(`flame-graph-${segments.value.slice(1, 3).join('-')}-${new Date().toISOString().slice(0, 16)}.png`, blob); });
}

export function ExportMenu({query, flame}: {query: Query | null; flame: boolean}) {
  return (
    <Popover label="Export" icon="download" text="Export">
      {(close) => <>
        {query && FORMATS.map(([format, text]) => <a class="item" key={format} href={'/api/v1/profiles/export' + queryString({...query, format})} download onClick={close}>{text}</a>)}
        {flame ? <button type="button" class="item" onClick={() => { savePicture(); close(); }}>Picture of the flame graph (.png)</button>
          : <p class="pad muted small">The flame graph can be saved as a picture while it is shown.</p>}
      </>}
    </Popover>
  );
}

function SnapshotForm({query, onClose}: {query: Query; onClose: () => void}) {
  const here = context.value!;
  const [title, setTitle] = useState(`${here.app} ${here.env}, ${String(query['type'] ?? '')}`);
  const [url, setUrl] = useState('');
  const [error, setError] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const make = async (): Promise<void> => {
    setBusy(true);
    try {
      const made = await post('/snapshots' + queryString(query), {title, path: window.location.pathname + window.location.search}) as {id: string; url: string};
      setUrl(new URL(made.url, window.location.origin).href);
      setError(null);
    } catch (cause) {
      setError(cause instanceof Error ? cause : new Error(String(cause)));
    } finally {
      setBusy(false);
    }
  };
  return (
    <form class="stack" onSubmit={(event) => { event.preventDefault(); void make(); }}>
      <div class="row"><h1 class="grow">Keep as a snapshot</h1><button class="button" type="button" onClick={onClose}>Close</button></div>
      {url ? <div class="notice good stack tight" role="status"><span>Kept. Everybody who may sign in here can open it:</span><code class="tag">{url}</code>
        <div class="row"><CopyButton text={url} label="Copy the link" /><a class="button" href={new URL(url).pathname}>Open it</a></div></div>
        : <>
          <p class="muted small">A snapshot keeps what is shown now, with its comparison, after retention has removed the profiles it was made of.</p>
          <Field label="Title"><input class="input" required maxLength={200} value={title} onInput={(e) => setTitle(e.currentTarget.value)} /></Field>
          {error && <Failure error={error} />}
          <div><button class="button primary" type="submit" disabled={busy}>Keep it</button></div>
        </>}
    </form>
  );
}

export function SnapshotButton({query}: {query: Query}) {
  const [open, setOpen] = useState(false);
  if (!may('editor')) return null;
  return <>
    <button type="button" class="button" title="Keep what is shown, beyond retention" onClick={() => setOpen(true)}>Snapshot</button>
    <Dialog open={open} onClose={() => setOpen(false)} label="Keep as a snapshot"><SnapshotForm query={query} onClose={() => setOpen(false)} /></Dialog>
  </>;
}
