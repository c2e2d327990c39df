// Dialogs of every page: go to (Ctrl-K) and the list of keys (?).
import {effect} from '@preact/signals';
import {useEffect, useRef, useState} from 'preact/hooks';
import type {ComponentChildren} from 'preact';
import {gotoOpen, helpOpen} from '../app/keys';
import {useData} from '../app/resource';
import {appPath, context, navigate} from '../app/router';
import {destinations} from './nav';

export function Dialog({open, onClose, label, className = '', children}: {
  open: boolean; onClose: () => void; label: string; className?: string; children: ComponentChildren;
}) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current!;
    if (open && !dialog.open) dialog.showModal();
    if (!open && dialog.open) dialog.close();
  }, [open]);
  return (
    <dialog ref={element} class={className} aria-label={label} onClose={onClose} onClick={(event) => { if (event.target === element.current) onClose(); }}>
      {open && children}
    </dialog>
  );
}

interface Found {
  functions?: {function: string; module: string}[];
  segments?: {name: string; kind: string}[];
  errors?: {group: string}[];
  metrics?: {name: string}[];
}

/* Functions, segments, errors and metrics of the application that the page is about, as one types. */
function useFound(query: string): {text: string; hint: string; href: string}[] {
  const here = context.value;
  const [settled, setSettled] = useState('');
  useEffect(() => {
    const timer = window.setTimeout(() => setSettled(query.trim()), 200);
    return () => window.clearTimeout(timer);
  }, [query]);
  const of = useData<Found>(here && settled.length >= 2 ? '/search' : null, {...here, q: settled}, `search ${settled}`);
  if (!here || settled.length < 2 || !of.data) return [];
  const to = (rest: string): string => appPath(here.app, here.env, rest);
  const q = (text: string): string => encodeURIComponent(text);
  return [
    ...(of.data.functions ?? []).map((f) => ({text: f.function, hint: 'function', href: `${to('profiles/cpu')}?view=sandwich&focus=${q(f.function + '\n' + f.module)}`})),
    ...(of.data.segments ?? []).map((s) => ({text: s.name, hint: s.kind, href: `${to('segments')}?name=${q(s.name)}`})),
    ...(of.data.errors ?? []).map((e) => ({text: e.group, hint: 'error', href: `${to('errors')}?group=${q(e.group)}`})),
    ...(of.data.metrics ?? []).map((m) => ({text: m.name, hint: 'metric', href: `${to('health')}?q=${q(m.name)}`})),
  ];
}

function GoToList() {
  const [query, setQuery] = useState('');
  const [chosen, setChosen] = useState(0);
  const asked = useFound(query);
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = destinations.value.filter((d) => words.every((word) => d.text.toLowerCase().includes(word))).slice(0, 40).concat(asked);
  const at = Math.min(chosen, Math.max(0, found.length - 1));
  const go = (href: string): void => {
    gotoOpen.value = false;
    navigate(href);
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.key === 'ArrowDown') setChosen(Math.min(at + 1, found.length - 1));
    else if (event.key === 'ArrowUp') setChosen(Math.max(at - 1, 0));
    else if (event.key === 'Enter' && found[at]) go(found[at].href);
    else return;
    event.preventDefault();
  };
  return <>
    <input type="text" autoFocus role="combobox" aria-expanded="true" aria-controls="goto-list" aria-activedescendant={`goto-${at}`} aria-label="Go to" placeholder="Go to an application, page, function, segment, error…" value={query}
      onInput={(event) => { setQuery(event.currentTarget.value); setChosen(0); }} onKeyDown={onKey} />
    <ul id="goto-list" role="listbox" aria-label="Places">
      {found.map((d, i) => <li key={d.href + d.text} id={`goto-${i}`} role="option" aria-selected={i === at} onClick={() => go(d.href)}><span class="cut">{d.text}</span><span class="muted small nowrap">{d.hint}</span></li>)}
      {found.length === 0 && <li class="muted" role="option" aria-selected="false">Nothing is called that.</li>}
    </ul>
  </>;
}

export function GoTo() {
  return <Dialog open={gotoOpen.value} onClose={() => { gotoOpen.value = false; }} label="Go to" className="goto"><GoToList /></Dialog>;
}

const KEYS: [string[], string][] = [
  [['/'], 'Search in this page'],
  [['Ctrl', 'K'], 'Go to an application, page, function, segment, error'],
  [['1', '2', '3', '4'], 'Call tree, flame graph, top functions, callers and callees'],
  [['[', ']'], 'Profile before, profile after'],
  [['m'], 'Merge all profiles of the time range'],
  [['↑', '↓'], 'Walk the call tree or the flame graph'],
  [['→', '←'], 'Open and close calls; neighbours in the flame graph'],
  [['Enter'], 'Open a call; zoom into a frame'],
  [['*'], 'Open everything below a call'],
  [['Esc'], 'Flame graph: show all again'],
  [['r'], 'Refresh now'],
  [['t'], 'Dark, light, or as the system'],
  [['?'], 'This list'],
];

export function Help() {
  return (
    <Dialog open={helpOpen.value} onClose={() => { helpOpen.value = false; }} label="Keys">
      <div class="stack">
        <div class="row"><h1 class="grow">Keys</h1><button class="button" type="button" onClick={() => { helpOpen.value = false; }}>Close</button></div>
        <dl class="help-keys">
          {KEYS.map(([keys, text]) => <><dt>{keys.map((key) => <><kbd>{key}</kbd> </>)}</dt><dd>{text}</dd></>)}
        </dl>
        <p class="muted small">In the profile history: click a point to open that profile, drag to merge a span, Shift and drag to compare with a span. In every other chart dragging zooms.</p>
      </div>
    </Dialog>
  );
}

/* A page that is left takes its dialogs with it. */
export function startDialogs(): void {
  effect(() => {
    if (helpOpen.value) gotoOpen.value = false;
  });
}
