// Keys that work on every page. Pages add theirs with useKeys(); typing in a field is never taken for a key.
import {signal} from '@preact/signals';
import {useLayoutEffect} from 'preact/hooks';

export const helpOpen = signal(false);
export const gotoOpen = signal(false);

type Handler = (event: KeyboardEvent) => void;
const handlers: Record<string, Handler>[] = [];

function typing(event: KeyboardEvent): boolean {
  const target = event.target;
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName));
}

function onKey(event: KeyboardEvent): void {
  if (event.defaultPrevented) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
    event.preventDefault();
    gotoOpen.value = true;
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event) || document.querySelector('dialog[open]')) return;
  if (event.key === '?') {
    event.preventDefault();
    helpOpen.value = true;
    return;
  }
  for (let i = handlers.length - 1; i >= 0; i--) {
    const handler = handlers[i]![event.key];
    if (handler) {
      event.preventDefault();
      handler(event);
      return;
    }
  }
}

export function startKeys(): void {
  document.addEventListener('keydown', onKey);
}

/** Registered before the page is painted: a key pressed at what is seen is never lost. */
export function useKeys(map: Record<string, Handler>): void {
  useLayoutEffect(() => {
    handlers.push(map);
    return () => { handlers.splice(handlers.indexOf(map), 1); };
  });
}

/** "/" puts the cursor into the page's search field. */
export function focusSearch(): void {
  document.querySelector<HTMLInputElement>('[data-search]')?.focus();
}
