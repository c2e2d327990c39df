// Who is signed in. The page starts here: set-up, sign-in, or on to where the address points.
import {computed, signal} from '@preact/signals';
import {fetchSession, post, setCsrf, setSignedOutHandler} from '../api/client';
import type {Role, Session} from '../api/types';
import {navigate, path} from './router';

export const session = signal<Session | null>(null);
export const unreachable = signal('');

const rank: Record<Role, number> = {viewer: 0, editor: 1, admin: 2};

export const user = computed(() => session.value?.user ?? null);

export function may(role: Role): boolean {
  const mine = user.value?.role;
  return mine !== undefined && rank[mine] >= rank[role];
}

/* For early.ts: whether asking for a page's data before the session is known makes sense here. */
function remember(signedIn: boolean): void {
  try {
    if (signedIn) window.localStorage.setItem('si-signed-in', '1');
    else window.localStorage.removeItem('si-signed-in');
  } catch {
    // private windows may refuse; the page is then asked for a little later
  }
}

export function adopt(next: Session): void {
  setCsrf(next.csrf);
  remember(next.user !== null);
  if (next.user === null) window.siEarly?.answers.clear(); // they were asked for by nobody, and are refusals
  session.value = next;
}

export async function loadSession(): Promise<void> {
  try {
    adopt(await fetchSession());
    unreachable.value = '';
  } catch (cause) {
    unreachable.value = cause instanceof Error ? cause.message : String(cause);
  }
}

/** Changes who is signed in by one POST, whether or not its answer carries the session. */
export async function enter(apiPath: string, body: unknown): Promise<void> {
  await post(apiPath, body);
  adopt(await fetchSession());
}

export async function signOut(): Promise<void> {
  await post('/sign-out');
  adopt(await fetchSession());
  navigate('/sign-in');
}

export function signInHref(): string {
  const target = path.value + window.location.search;
  return target === '/' ? '/sign-in' : '/sign-in?next=' + encodeURIComponent(target);
}

/** Where to go after signing in: a path of ours, never an address of someone else's. */
export function safeNext(next: string): string {
  return /^\/(?![/\\])/.test(next) && !next.startsWith('/sign-in') ? next : '/';
}

setSignedOutHandler(() => {
  remember(false);
  if (session.value?.user) session.value = {...session.value, user: null};
});
