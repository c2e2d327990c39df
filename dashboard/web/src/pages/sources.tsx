// Who reports: every process, whether its collectors work (and if not, why), and what it lost on the way.
import {Fragment} from 'preact';
import type {Collector, Source} from '../api/types';
import {count, milliseconds, plural} from '../app/format';
import {useData} from '../app/resource';
import {appPath, context, param, setParams} from '../app/router';
import {now} from '../app/time';
import {Empty, Loaded, Panel, Pill, Time} from '../components/basics';
import {CollectorTable, Working} from '../components/collectors';
import {Icon} from '../components/icon';
import {apps} from '../components/nav';
import {SearchField} from '../components/search_field';
import {Page} from '../components/topbar';

const SKEW_MS = 60_000;

function tone(state: string): 'good' | 'warn' | 'bad' | '' {
  return state === 'on' ? 'good' : state === 'degraded' ? 'warn' : state === 'unavailable' ? 'bad' : '';
}

function Losses({source}: {source: Source}) {
  const lost = source.losses.filter((l) => l.dropped > 0 || l.pending > 0);
  if (source.losses.length === 0) return null;
  if (lost.length === 0) return <p class="small muted">Nothing lost: {source.losses.map((l) => `${count(l.stored)} of ${count(l.made)} ${l.name}`).join(', ')}.</p>;
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label="Losses"><table class="data">
      <thead><tr><th scope="col">Kind</th><th scope="col" class="num">Made</th><th scope="col" class="num">Stored</th><th scope="col" class="num">Waiting</th><th scope="col" class="num">Lost</th><th scope="col">Reason</th></tr></thead>
      <tbody>{lost.map((l) => <tr key={l.name}><td>{l.name}</td><td class="num">{count(l.made)}</td><td class="num">{count(l.stored)}</td><td class="num">{count(l.pending)}</td><td class={'num' + (l.dropped > 0 ? ' bad' : '')}>{count(l.dropped)}</td><td class="wrap">{l.reason}</td></tr>)}</tbody>
    </table></div>
  );
}

function State({source}: {source: Source}) {
  return source.up ? <Pill tone="good">up</Pill> : source.ended ? <Pill>ended</Pill> : <Pill tone="warn">silent</Pill>;
}

function troubles(source: Source): Source['statuses'] {
  return source.statuses.filter((s) => s.state !== 'on');
}

/* Everything about one process. */
function Details({source}: {source: Source}) {
  const ahead = source.clock_ahead_ms ?? 0;
  const trouble = troubles(source);
  const tags: [string, string][] = [['version', source.app_version], ['runtime', source.runtime_version], ['build', source.build_id], ['run', source.run_id], ['agent', source.agent_version], ['system', source.os], ['rules', source.rules_hash]];
  return (
    <div class="stack tight">
      {Math.abs(ahead) > SKEW_MS && <p class="notice warn">Its clock is {milliseconds(Math.abs(ahead))} {ahead > 0 ? 'ahead of' : 'behind'} this dashboard’s: its data is shown at the wrong time, or outside the range.</p>}
      <div class="row tight">{tags.filter(([, v]) => v).map(([k, v]) => <span class="tag" key={k} title={`${k} ${v}`}>{k} {k === 'build' || k === 'run' || k === 'rules' ? v.slice(0, 12) : v}</span>)}{(source.tags ?? []).map((tag) => <span class="tag" key={tag} title={tag}>{tag}</span>)}</div>
      <Working parts={source.statuses.filter((s) => s.state === 'on')} />
      {trouble.length > 0 && <table class="data"><thead><tr><th scope="col">Part</th><th scope="col">State</th><th scope="col">Reason</th></tr></thead>
        <tbody>{trouble.map((s) => <tr key={s.name}><td class="mono">{s.name}</td><td><Pill tone={tone(s.state)}>{s.state}</Pill></td><td class="wrap muted">{s.reason}</td></tr>)}</tbody></table>}
      <Losses source={source} />
    </div>
  );
}

/* Where one goes from a process: what it did. */
function Leads({app, env, source}: {app: string; env: string; source: Source}) {
  return <a class="button quiet" href={`${appPath(app, env, 'overview')}?src=${source.id}`}>Its overview</a>;
}

function One({app, env, source}: {app: string; env: string; source: Source}) {
  return (
    <Panel title={<>{source.host} <span class="muted">pid {source.pid}</span></>} actions={<><State source={source} /><span class="small muted">seen <Time ms={source.last_seen_ms} relative /></span><Leads app={app} env={env} source={source} /></>}>
      <Details source={source} />
    </Panel>
  );
}

const PANELS = 6;
const TROUBLES = 4;

/* Many processes: a row each, which opens. The open one is in the address. */
function Fleet({app, env, list}: {app: string; env: string; list: Source[]}) {
  const open = param('open');
  return (
    <Panel flush title={plural(list.length, 'process', 'processes')}>
      <div class="table-scroll" tabIndex={0} role="region" aria-label={`Processes of ${app} ${env}`}><table class="data">
        <thead><tr><th scope="col">Process</th><th scope="col">State</th><th scope="col" class="wide-only">Version</th><th scope="col" class="wide-only">Does not work</th><th scope="col" class="num wide-only">Lost</th><th scope="col">Seen</th><th scope="col" class="wide-only"><span class="sr">Go to</span></th></tr></thead>
        <tbody>{list.map((s) => {
          const isOpen = open === String(s.id);
          const lost = s.losses.reduce((sum, l) => sum + l.dropped, 0);
          const skewed = Math.abs(s.clock_ahead_ms ?? 0) > SKEW_MS;
          return <Fragment key={s.id}>
            <tr class={isOpen ? 'selected' : ''}>
              <td class="name"><button type="button" class="plain-button" aria-expanded={isOpen} onClick={() => setParams({open: isOpen ? null : s.id}, true)}><Icon name={isOpen ? 'down' : 'chevron'} /> <b title={s.host}>{s.host}</b> <span class="muted">pid {s.pid}</span></button></td>
              <td><State source={s} /></td><td class="name version wide-only" title={s.app_version}>{s.app_version}</td>
              <td class="wide-only"><span class="row tight nowrap">{troubles(s).slice(0, TROUBLES).map((t) => <span key={t.name} title={t.reason}><Pill tone={tone(t.state)}>{t.name}</Pill></span>)}{skewed && <Pill tone="warn">clock</Pill>}{troubles(s).length > TROUBLES && <span class="muted tiny">and {troubles(s).length - TROUBLES} more</span>}</span></td>
              <td class={'num wide-only' + (lost > 0 ? ' bad' : '')}>{count(lost)}</td><td><Time ms={s.last_seen_ms} relative /></td><td class="num wide-only"><Leads app={app} env={env} source={s} /></td>
            </tr>
            {isOpen && <tr class="opened"><td colSpan={7}><Details source={s} /></td></tr>}
          </Fragment>;
        })}</tbody>
      </table></div>
    </Panel>
  );
}

function OfApp({app, env}: {app: string; env: string}) {
  const of = useData<{sources: Source[]}>('/sources', {app, env, t: now.value}, `sources ${app} ${env}`);
  const collectors = useData<{collectors: Collector[]}>('/collectors', {app, env, t: now.value}, `collectors ${app} ${env}`);
  const q = param('q').toLowerCase();
  const several = (of.data?.sources.length ?? 0) > 1; // of one process, its own panel says it all
  return (
    <section class="stack" aria-label={`Sources of ${app} ${env}`}>
      <h2 class="places">{app} <span class="muted">{env}</span></h2>
      {several && (collectors.data?.collectors.length ?? 0) > 0 && <Panel flush title="What is measured" footer="Of sources that reported within a day. “Unavailable” says why, and where."><CollectorTable collectors={collectors.data!.collectors} sources={of.data?.sources ?? []} /></Panel>}
      <Loaded of={of}>{(data) => {
        const list = data.sources.filter((s) => `${s.host} ${s.pid} ${s.app_version} ${(s.tags ?? []).join(' ')}`.toLowerCase().includes(q)).sort((a, b) => Number(b.up) - Number(a.up) || b.last_seen_ms - a.last_seen_ms);
        return data.sources.length === 0 ? <Panel><Empty title="No source" causes={['No report has arrived from this application.', 'Retention has removed it.']} /></Panel>
          : list.length === 0 ? <p class="muted small">No process here is called that.</p>
            : list.length > PANELS ? <Fleet app={app} env={env} list={list} />
              : <div class={list.length > 1 ? 'grid two' : 'grid'}>{list.map((s) => <One key={s.id} app={app} env={env} source={s} />)}</div>;
      }}</Loaded>
    </section>
  );
}

export function Sources() {
  const here = context.value;
  const places = here ? [here] : apps.value ?? [];
  return (
    <Page title={here ? `Sources of ${here.app}` : 'Sources'} timed={false}>
      <div class="row"><SearchField label="Search sources" /></div>
      {places.length === 0 && <Panel><Empty title="Nothing reports yet" causes={['No agent has been started with a key of this dashboard.']}><a class="button primary" href="/add">Add an application</a></Empty></Panel>}
      {places.map(({app, env}) => <OfApp key={`${app}\n${env}`} app={app} env={env} />)}
    </Page>
  );
}
