// What an empty page can say of the application's reports: none ever came, or when the last one did, and a link to that time.
import {hrefWith} from '../app/router';
import {range} from '../app/time';
import {Time} from './basics';
import {currentApp} from './nav';

const HOUR_MS = 3_600_000;

/** Whether no agent of the application has ever reported here. */
export function neverReported(): boolean {
  return currentApp.value !== null && currentApp.value.last_seen_ms === null;
}

/** A way on: to the snippets, or to the time that has data. Nothing where the range holds reports. */
export function LastReport() {
  const app = currentApp.value;
  if (!app) return null;
  if (app.last_seen_ms === null) {
    return <div class="row"><a class="button primary" href={`/add?${new URLSearchParams({app: app.app, env: app.env}).toString()}`}>How to start it observed</a></div>;
  }
  if (app.last_seen_ms >= range.value.from) return null;
  return (
    <div class="row">
      <a class="button primary" href={hrefWith({range: null, at: null, from: app.last_seen_ms - HOUR_MS, to: app.last_seen_ms + 60_000})}>Show its last hour</a>
      <span class="small">The last report came <Time ms={app.last_seen_ms} relative />.</span>
    </div>
  );
}
