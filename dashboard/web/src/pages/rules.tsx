// The rules in force: the dashboard's own, which see all sources together, and those that each agent has loaded. A rule that many
// agents run is one row, with how many of them it fires at.
import {useState} from 'preact/hooks';
import type {DashboardRule, DashboardRules, RuleState} from '../api/types';
import {count, nanoseconds, plural} from '../app/format';
import {useData} from '../app/resource';
import {context, param} from '../app/router';
import {now} from '../app/time';
import {Empty, Loaded, Panel, Pill, severityTone} from '../components/basics';
import {apps} from '../components/nav';
import {SearchField} from '../components/search_field';
import {Page} from '../components/topbar';

interface Answer {
  rules: RuleState[];
  dashboard?: DashboardRules;
  hash?: string;
}

const STATES = ['broken', 'firing', 'pending', 'inactive', 'disabled'];

function tone(state: string): 'good' | 'bad' | 'warn' | '' {
  return state === 'broken' || state === 'firing' ? 'bad' : state === 'pending' ? 'warn' : state === 'disabled' ? '' : 'good';
}

interface Loading {
  name: string;
  file: string;
  error: string;
  states: Map<string, number>;
  at: RuleState[];
  evaluations: number;
  cost_ns: number;
}

/* The same rule with the same error, at however many agents. */
function grouped(rules: RuleState[]): Loading[] {
  const groups = new Map<string, Loading>();
  for (const rule of rules) {
    const key = `${rule.name}\n${rule.file}\n${rule.error}`;
    const group = groups.get(key) ?? {name: rule.name, file: rule.file, error: rule.error, states: new Map<string, number>(), at: [], evaluations: 0, cost_ns: 0};
    const state = rule.error ? 'broken' : rule.state;
    group.states.set(state, (group.states.get(state) ?? 0) + 1);
    group.at.push(rule);
    group.evaluations += rule.evaluations;
    group.cost_ns += rule.cost_ns;
    groups.set(key, group);
  }
  const worst = (group: Loading): number => Math.min(...[...group.states.keys()].map((state) => (STATES.indexOf(state) + 99) % 99));
  return [...groups.values()].sort((a, b) => worst(a) - worst(b) || a.file.localeCompare(b.file) || a.name.localeCompare(b.name));
}

function each(cost_ns: number, evaluations: number): string {
  return evaluations > 0 ? nanoseconds(cost_ns / evaluations) : '–';
}

/* Its alerts of all times. */
function RuleLink({app, env, name}: {app: string; env: string; name: string}) {
  const query = new URLSearchParams({app, env, state: 'history', q: name}).toString();
  return <a class="plain mono" href={`/alerts?${query}`} title={`Alerts of ${name}`}>{name}</a>;
}

const HOSTS_SHOWN = 60;

function Hosts({group, app, env}: {group: Loading; app: string; env: string}) {
  const [open, setOpen] = useState(false);
  const link = (rule: RuleState) => <a key={rule.source} href={`/sources?${new URLSearchParams({app, env, q: rule.host}).toString()}`}>{rule.host}</a>;
  if (group.at.length === 1) return link(group.at[0]!);
  const firing = group.at.filter((rule) => rule.state === 'firing');
  const listed = [...firing, ...group.at.filter((rule) => rule.state !== 'firing')];
  return <>
    <button type="button" class="button quiet" aria-expanded={open} aria-label={`${plural(group.at.length, 'agent')} with ${group.name}`} onClick={() => setOpen(!open)}>{plural(group.at.length, 'agent')}</button>
    {open && <div class="row tight small hosts">{listed.slice(0, HOSTS_SHOWN).map(link)}{listed.length > HOSTS_SHOWN && <span class="muted">and {listed.length - HOSTS_SHOWN} more</span>}</div>}
  </>;
}

function AgentTable({rules, app, env}: {rules: RuleState[]; app: string; env: string}) {
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label="Rules at the agents"><table class="data">
      <thead><tr><th scope="col">Rule</th><th scope="col">State</th><th scope="col" class="wide-only">File</th><th scope="col">At</th><th scope="col" class="num wide-only">Evaluations</th><th scope="col" class="num wide-only">Cost each</th><th scope="col">Error</th></tr></thead>
      <tbody>{grouped(rules).map((group) => (
        <tr key={`${group.name}\n${group.file}\n${group.error}`}>
          <td class="rule"><RuleLink app={app} env={env} name={group.name} /></td>
          <td><span class="row tight">{STATES.concat([...group.states.keys()].filter((state) => !STATES.includes(state))).filter((state) => group.states.has(state)).map((state) => (
            <Pill key={state} tone={tone(state)}>{state}{group.at.length > 1 ? ` ×${group.states.get(state)}` : ''}</Pill>))}</span></td>
          <td class="mono muted wide-only wrap">{group.file}</td><td class="wrap"><Hosts group={group} app={app} env={env} /></td>
          <td class="num wide-only">{count(group.evaluations)}</td><td class="num wide-only">{each(group.cost_ns, group.evaluations)}</td><td class="wrap bad">{group.error}</td>
        </tr>
      ))}</tbody>
    </table></div>
  );
}

function DashboardTable({rules, app, env}: {rules: DashboardRule[]; app: string; env: string}) {
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label="Rules at the dashboard"><table class="data">
      <thead><tr><th scope="col">Rule</th><th scope="col">State</th><th scope="col">Severity</th><th scope="col" class="wide-only">File</th><th scope="col" class="num">Firing</th><th scope="col" class="num wide-only">Evaluations</th><th scope="col" class="num wide-only">Cost each</th><th scope="col">Error</th></tr></thead>
      <tbody>{rules.map((r) => (
        <tr key={r.name}>
          <td class="rule"><RuleLink app={app} env={env} name={r.name} /></td><td><Pill tone={tone(r.error ? 'broken' : r.state)}>{r.error ? 'broken' : r.state}</Pill></td>
          <td>{r.severity && <Pill tone={severityTone(r.severity)}>{r.severity}</Pill>}</td><td class="mono muted wide-only wrap">{r.file}{r.line > 0 ? `:${r.line}` : ''}</td>
          <td class="num">{count(r.alerts)}</td><td class="num wide-only">{count(r.evaluations)}</td><td class="num wide-only">{each(r.cost_ns, r.evaluations)}</td><td class="wrap bad">{r.error}</td>
        </tr>
      ))}</tbody>
    </table></div>
  );
}

function OfDashboard({own, q, app, env}: {own: DashboardRules; q: string; app: string; env: string}) {
  const list = own.rules.filter((r) => `${r.name} ${r.file} ${r.error} dashboard`.toLowerCase().includes(q));
  if (list.length === 0 && !own.error && q) return null;
  return (
    <Panel flush title={<>At the dashboard <span class="muted small">over all sources of the application, minute by minute</span></>}
      footer={<>Rule set <code>{own.hash.slice(0, 12)}</code>, {plural(own.series, 'series', 'series')} watched</>}>
      {own.error && <div class="body"><p class="notice bad" role="alert">{own.error} The set before stays in force.</p></div>}
      {own.rules.length === 0 ? <div class="body"><p class="muted small">No rule has <code>at = "dashboard"</code>.</p></div> : <DashboardTable rules={list} app={app} env={env} />}
    </Panel>
  );
}

function OfApp({app, env, named}: {app: string; env: string; named: boolean}) {
  const of = useData<Answer>('/rules', {app, env, t: now.value}, `rules ${app} ${env}`);
  const q = param('q').toLowerCase();
  return (
    <section class="stack" aria-label={`Rules of ${app} ${env}`}>
      {named && <h2 class="places">{app} <span class="muted">{env}</span></h2>}
      <Loaded of={of}>{(data) => {
        const list = data.rules.filter((r) => `${r.name} ${r.file} ${r.host} ${r.error}`.toLowerCase().includes(q));
        const broken = new Set(data.rules.filter((r) => r.error).map((r) => `${r.name}\n${r.file}`)).size;
        return <>
          {broken > 0 && <p class="notice bad" role="alert">{plural(broken, 'rule')} with an error. The rules that worked before stay in force until the file is mended.</p>}
          {data.dashboard && <OfDashboard own={data.dashboard} q={q} app={app} env={env} />}
          {data.rules.length === 0 ? <Panel><Empty title="No agent has told its rules yet" causes={['No report has arrived in the last day: see Sources.', 'The agent was built without rules, or its rules directory is empty.']} /></Panel>
            : list.length === 0 ? <p class="muted small">No rule of its agents is called that.</p>
              : <Panel flush title={<>At the agents <span class="muted small">{plural(new Set(data.rules.map((r) => r.source)).size, 'agent')} of the last day</span></>} {...(data.hash ? {footer: <>Rule set of the latest <code>{data.hash.slice(0, 12)}</code></>} : {})}><AgentTable rules={list} app={app} env={env} /></Panel>}
        </>;
      }}</Loaded>
    </section>
  );
}

export function Rules() {
  const here = context.value;
  const places = here ? [here] : apps.value ?? [];
  return (
    <Page title={here ? `Rules of ${here.app}` : 'Rules'} timed={false}>
      <div class="row"><SearchField label="Search rules" /></div>
      {places.length === 0 && <Panel><Empty title="Nothing reports yet" causes={['No agent has been started with a key of this dashboard.']}><a class="button primary" href="/add">Add an application</a></Empty></Panel>}
      {places.map(({app, env}) => <OfApp key={`${app}\n${env}`} app={app} env={env} named={!here} />)}
    </Page>
  );
}
