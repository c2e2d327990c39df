// Talks to /api/v1: adds the CSRF token to changes, turns every failure into one ApiError with a sentence in it.
import {type Query, queryString} from './query';
import type {Session} from './types';

export {type Query, queryString};

export class ApiError extends Error {
  constructor(readonly status: number, readonly code: string, message: string, readonly field = '') {
    super(message);
  }
}

let csrf = '';
let onSignedOut: () => void = () => undefined;

/** Called once by the session: what to do when the server says that nobody is signed in. */
export function setSignedOutHandler(handler: () => void): void {
  onSignedOut = handler;
}

/** The token that every change carries; it comes with each answer of /session. */
export function setCsrf(token: string): void {
  csrf = token;
}

async function failure(response: Response): Promise<ApiError> {
  let code = 'http_' + String(response.status);
  let message = `The dashboard answered ${response.status}.`;
  let field = '';
  try {
    const body = await response.json() as {error?: {code?: string; message?: string; field?: string}};
    code = body.error?.code ?? code;
    message = body.error?.message ?? message;
    field = body.error?.field ?? '';
  } catch {
    // not JSON: a proxy in between; the status says what there is to say
  }
  const wait = response.headers.get('Retry-After');
  if (wait) message += ` Try again in ${wait} s.`;
  return new ApiError(response.status, code, message, field);
}

const EARLY_FRESH_MS = 60_000;

/* What early.ts asked for already; each answer is taken once, and soon or not at all. */
function takeEarly(path: string): Promise<Response> | undefined {
  const early = window.siEarly;
  const answer = early?.answers.get(path);
  early?.answers.delete(path);
  return early && Date.now() - early.now < EARLY_FRESH_MS ? answer : undefined;
}

async function call(method: string, path: string, body?: unknown, signal?: AbortSignal, raw?: Blob): Promise<unknown> {
  const headers: Record<string, string> = {Accept: 'application/json'};
  if (method !== 'GET') headers['X-CSRF-Token'] = csrf;
  if (raw) headers['Content-Type'] = 'application/octet-stream';
  else if (body !== undefined) headers['Content-Type'] = 'application/json';
  let response: Response;
  try {
    response = await (method === 'GET' && takeEarly(path) || fetch('/api/v1' + path, {
      method,
      headers,
      credentials: 'same-origin',
      ...(raw ? {body: raw} : body === undefined ? {} : {body: JSON.stringify(body)}),
      ...(signal ? {signal} : {}),
    }));
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new ApiError(0, 'unreachable', 'The dashboard cannot be reached. Is it still running?');
  }
  if (!response.ok) {
    const error = await failure(response);
    if (error.status === 401 && !/^\/(session|sign-in|sign-in-link|setup|invite)$/.test(path)) onSignedOut();
    throw error;
  }
  if (response.status === 204) return undefined;
  const text = await response.text();
  return text ? JSON.parse(text) as unknown : undefined;
}

interface Flight {
  answer: Promise<unknown>;
  abort: AbortController;
  users: number;
}

const flights = new Map<string, Flight>();

/* The server's word is taken for the shape: docs/api.md is the contract, and pages treat missing parts as empty. Parts of a page
   that ask for the same at once share one request, which ends early when none of them wants it any more. */
export async function get(path: string, query: Query = {}, signal?: AbortSignal): Promise<unknown> {
  const full = path + queryString(query);
  let flight = flights.get(full);
  if (!flight) {
    const abort = new AbortController();
    flight = {answer: call('GET', full, undefined, abort.signal), abort, users: 0};
    const mine = flight;
    flights.set(full, mine);
    const landed = (): void => { if (flights.get(full) === mine) flights.delete(full); };
    mine.answer.then(landed, landed);
  }
  const shared = flight;
  shared.users++;
  signal?.addEventListener('abort', () => {
    if (--shared.users > 0) return;
    if (flights.get(full) === shared) flights.delete(full);
    shared.abort.abort();
  }, {once: true});
  return shared.answer;
}

export async function post(path: string, body: unknown = {}): Promise<unknown> {
  return call('POST', path, body);
}

/** A file as it is. */
export async function upload(path: string, file: Blob): Promise<unknown> {
  return call('POST', path, undefined, undefined, file);
}

export async function remove(path: string): Promise<unknown> {
  return call('DELETE', path);
}

export async function fetchSession(): Promise<Session> {
  const session = await get('/session') as Session;
  setCsrf(session.csrf);
  return session;
}
