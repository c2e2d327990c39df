// Runs before anything else, in a file of its own: sends the requests that the page at this address will make, so that they are
// answered while its scripts are read. client.ts takes the answers; what nobody asks for is dropped. Who was not signed in when
// this browser was last here is asked for the session alone.
import {firstRequests} from './api/requests';

declare global {
  interface Window {
    /** Requests on their way, by path; `now` is the moment that their time ranges end at. */
    siEarly?: {now: number; answers: Map<string, Promise<Response>>};
  }
}

function signedIn(): boolean {
  try {
    return window.localStorage.getItem('si-signed-in') === '1';
  } catch {
    return false;
  }
}

if (!window.siEarly) {
  const now = Date.now();
  const answers = new Map<string, Promise<Response>>();
  for (const path of ['/session', ...signedIn() ? firstRequests(window.location.pathname, window.location.search, now) : []]) {
    const answer = fetch('/api/v1' + path, {headers: {Accept: 'application/json'}, credentials: 'same-origin'});
    answer.catch(() => undefined); // who takes it hears of it
    answers.set(path, answer);
  }
  window.siEarly = {now, answers};
}
