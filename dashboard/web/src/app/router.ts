// The URL is the state. Pages read `path` and `params`; everything that a person can choose goes through `navigate` or
// `setParams`, so that back, forward, reload and a pasted link all show the same thing.
import {computed, signal} from '@preact/signals';

interface Location {
  path: string;
  search: string;
}

function here(): Location {
  return {path: window.location.pathname, search: window.location.search};
}

const current = signal<Location>(here());

export const path = computed(() => current.value.path);
export const params = computed(() => new URLSearchParams(current.value.search));

export function param(name: string): string {
  return params.value.get(name) ?? '';
}

export function navigate(href: string, replace = false): void {
  const url = new URL(href, window.location.href);
  if (url.origin !== window.location.origin) return;
  const same = url.pathname === window.location.pathname && url.search === window.location.search;
  if (!same) window.history[replace ? 'replaceState' : 'pushState'](null, '', url.pathname + url.search);
  const moved = url.pathname !== current.value.path;
  current.value = here();
  if (moved) {
    window.scrollTo(0, 0);
    document.getElementById('main')?.focus({preventScroll: true});
  }
}

/* The characters that URLs may carry as they are stay readable: ?at=12&src=3 rather than a row of percent signs. */
function encode(value: string): string {
  return encodeURIComponent(value).replace(/%3A/g, ':').replace(/%2C/g, ',').replace(/%2F/g, '/');
}

export type Changes = Record<string, string | number | null | undefined>;

/** This page's address with some parameters changed; empty values leave. */
export function hrefWith(changes: Changes, onPath = current.value.path): string {
  const next = new URLSearchParams(current.value.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === '') next.delete(name);
    else next.set(name, String(value));
  }
  const text = [...next].map(([name, value]) => `${encode(name)}=${encode(value)}`).join('&');
  return onPath + (text ? '?' + text : '');
}

export function setParams(changes: Changes, replace = false): void {
  navigate(hrefWith(changes), replace);
}

/** The address of another page of the same application that keeps the time range and the source. */
export function hrefKeeping(toPath: string, extra: Changes = {}): string {
  const kept: Changes = {};
  for (const name of ['range', 'from', 'to', 'src']) kept[name] = param(name);
  const text = Object.entries({...kept, ...extra})
    .filter(([, value]) => value !== null && value !== undefined && value !== '')
    .map(([name, value]) => `${encode(name)}=${encode(String(value))}`).join('&');
  return toPath + (text ? '?' + text : '');
}

/** /a/:app/:env/... with names of any spelling. */
export function appPath(app: string, env: string, rest: string): string {
  return `/a/${encodeURIComponent(app)}/${encodeURIComponent(env)}/${rest}`;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const segments = computed(() => current.value.path.split('/').filter(Boolean).map(decode));

/** The application that the page is about: from the path, or from ?app=&env= on the pages that span applications. */
export const context = computed<{app: string; env: string} | null>(() => {
  const parts = segments.value;
  if (parts[0] === 'a' && parts[1] && parts[2]) return {app: parts[1], env: parts[2]};
  const app = params.value.get('app');
  const env = params.value.get('env');
  return app && env ? {app, env} : null;
});

function followLink(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  if (!link || link.target || link.hasAttribute('download') || link.origin !== window.location.origin) return;
  if (link.pathname.startsWith('/api/') || link.getAttribute('href')?.startsWith('#')) return;
  event.preventDefault();
  navigate(link.href);
}

export function startRouter(): void {
  window.addEventListener('popstate', () => { current.value = here(); });
  document.addEventListener('click', followLink);
}
