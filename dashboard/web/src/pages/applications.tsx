// The front page: every application and environment that reports, busiest state first.
import {percent, plural} from '../app/format';
import {appPath} from '../app/router';
import {now, rangeFor} from '../app/time';
import {Spark} from '../charts/spark';
import {Empty, Failure, Pill, Time} from '../components/basics';
import {Icon} from '../components/icon';
import {apps, appsError, loadApps} from '../components/nav';
import {SearchField} from '../components/search_field';
import {Page} from '../components/topbar';
import {param} from '../app/router';
import type {App} from '../api/types';

const QUIET_MS = 5 * 60_000;

/** An application's overview, over the time that it has data of. */
function overviewOf(app: App): string {
  const range = rangeFor(app.cpu?.points[0]?.[0]);
  return appPath(app.app, app.env, 'overview') + (range ? `?range=${range}` : '');
}

function Card({app}: {app: App}) {
  const quiet = now.value - (app.last_seen_ms ?? 0) > QUIET_MS;
  return (
    <li class="card">
      <div class="row nowrap">
        <h2 class="grow" title={app.app}><a href={overviewOf(app)}>{app.app}</a></h2>
        {app.firing > 0 ? <Pill tone="bad">{plural(app.firing, 'alert')}</Pill> : quiet ? <Pill>silent</Pill> : <Pill tone="good">fine</Pill>}
      </div>
      <Spark points={app.cpu?.points ?? []} label={`CPU of ${app.app}, recent`} bad={app.firing > 0} />
      <div class="row small muted">
        <span class="tag">{app.env}</span>
        <span>{app.cpu?.last !== null && app.cpu?.last !== undefined ? `CPU ${percent(app.cpu.last)}` : 'no CPU profile yet'}</span>
        <span>{plural(app.sources, 'source')}</span>
        <span class="grow num"><Time ms={app.last_seen_ms} relative /></span>
      </div>
    </li>
  );
}

export function Applications() {
  const list = apps.value;
  const q = param('q').toLowerCase();
  const shown = (list ?? []).filter((a) => `${a.app} ${a.env}`.toLowerCase().includes(q)).sort((a, b) => b.firing - a.firing || a.app.localeCompare(b.app) || a.env.localeCompare(b.env));
  return (
    <Page title="Applications" timed={false} controls={<a class="button primary" href="/add"><Icon name="plus" />Add an application</a>}>
      {appsError.value && <Failure error={new Error(appsError.value)} retry={() => void loadApps()} />}
      {list === null ? !appsError.value && <div class="skeleton" role="status" aria-label="Loading" />
        : list.length === 0 ? (
          <Empty title="No application reports yet" causes={['No agent has been started with a key of this dashboard.', 'The agent cannot reach this address: check its log, a proxy, or SI_DASHBOARD_URL.', 'The key was mistyped or revoked: the agent’s log then says “the agent key was refused”.']}>
            <a class="button primary big" href="/add">Add an application</a>
          </Empty>
        ) : <>
          {list.length > 6 && <div class="row"><SearchField label="Search applications" /></div>}
          <ul class="grid cards">{shown.map((app) => <Card key={`${app.app}\n${app.env}`} app={app} />)}</ul>
          {shown.length === 0 && <p class="muted">No application is called that.</p>}
        </>}
    </Page>
  );
}
