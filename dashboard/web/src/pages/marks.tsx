// Deploys and other marks: as the charts draw them, and the button that makes one.
import {useState} from 'preact/hooks';
import {post} from '../api/client';
import type {Annotation} from '../api/types';
import {context} from '../app/router';
import {may} from '../app/session';
import {fromInput, toInput, zoneName} from '../app/zone';
import type {Mark} from '../charts/chart';
import {Failure, Field} from '../components/basics';
import {Dialog} from '../components/dialogs';
import {Icon} from '../components/icon';

export function deployMarks(annotations: Annotation[] | undefined): Mark[] {
  return (annotations ?? []).map((a) => ({t: a.time_ms, text: a.text || a.kind}));
}

function MarkForm({onClose, onDone}: {onClose: () => void; onDone: () => void}) {
  const here = context.value!;
  const [text, setText] = useState('');
  const [at, setAt] = useState(toInput(Date.now()));
  const [kind, setKind] = useState('deploy');
  const [error, setError] = useState<Error | null>(null);
  const make = async (): Promise<void> => {
    try {
      await post('/annotations', {...here, text, kind, time_ms: fromInput(at)});
      onDone();
      onClose();
    } catch (cause) {
      setError(cause instanceof Error ? cause : new Error(String(cause)));
    }
  };
  return (
    <form class="stack" onSubmit={(event) => { event.preventDefault(); void make(); }}>
      <h1>Mark a moment</h1>
      <p class="muted small">A new app version draws its own mark. Others come from here, or from your deploy script: <code>POST /api/v1/annotations</code> with an agent key.</p>
      <Field label="Text"><input class="input" required maxLength={200} value={text} onInput={(e) => setText(e.currentTarget.value)} placeholder="config: cache 2 GiB" /></Field>
      <div class="grid two">
        <Field label={`When (${zoneName.value})`}><input class="input" required type="datetime-local" value={at} onInput={(e) => setAt(e.currentTarget.value)} /></Field>
        <Field label="Kind"><select class="input" value={kind} onChange={(e) => setKind(e.currentTarget.value)}><option value="deploy">deploy</option><option value="note">note</option><option value="incident">incident</option></select></Field>
      </div>
      {error && <Failure error={error} />}
      <div class="row"><button class="button primary" type="submit">Mark it</button><button class="button" type="button" onClick={onClose}>Cancel</button></div>
    </form>
  );
}

export function MarkButton({onDone}: {onDone: () => void}) {
  const [open, setOpen] = useState(false);
  if (!may('editor')) return null;
  return <>
    <button type="button" class="button quiet wide-only" title="Mark a moment: a deploy, a change" onClick={() => setOpen(true)}><Icon name="flag" />Mark</button>
    <Dialog open={open} onClose={() => setOpen(false)} label="Mark a moment"><MarkForm onClose={() => setOpen(false)} onDone={onDone} /></Dialog>
  </>;
}
