// The rules as each agent has loaded them: their state, their errors, what they cost.
import type {RuleState} from '../api/types';
import {count, nanoseconds, plural} from '../app/format';
import {useData} from '../app/resource';
import {context, param} from '../app/router';
import {Empty, Loaded, Panel, Pill} from '../components/basics';
import {apps} from '../components/nav';
import {SearchField} from '../components/search_field';
import {Page} from '../components/topbar';

function OfApp({app, env, named}: {app: string; env: string; named: boolean}) {
  const of = useData<{rules: RuleState[]; hash?: string}>('/rules', {app, env}, `rules ${app} ${env}`);
  const q = param('q').toLowerCase();
  return (
    <section class="stack" aria-label={`Rules of ${app} ${env}`}>
      {named && <h2>{app} <span class="muted">{env}</span></h2>}
      <Loaded of={of}>{(data) => {
        const list = data.rules.filter((r) => `${r.name} ${r.file} ${r.host} ${r.error}`.toLowerCase().includes(q));
        const broken = data.rules.filter((r) => r.error);
        return <>
          {broken.length > 0 && <p class="notice bad" role="alert">{plural(broken.length, 'rule')} with an error. The rules that worked before stay in force until the file is mended.</p>}
          <Panel flush {...(data.hash ? {footer: <>Rule set <code>{data.hash.slice(0, 12)}</code></>} : {})}>{data.rules.length === 0 ? <Empty title="No agent has told its rules yet" causes={['No report has arrived in the last day: see Sources.', 'The agent was built without rules, or its rules directory is empty.']} />
            : <Table rules={list} />}</Panel>
        </>;
      }}</Loaded>
    </section>
  );
}

function Table({rules}: {rules: RuleState[]}) {
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label="Rules"><table class="data">
      <thead><tr><th scope="col">Rule</th><th scope="col">State</th><th scope="col" class="wide-only">File</th><th scope="col">Host</th><th scope="col" class="num wide-only">Evaluations</th><th scope="col" class="num wide-only">Cost each</th><th scope="col" class="num wide-only">Errors</th><th scope="col">Error</th></tr></thead>
      <tbody>{rules.map((r, i) => (
        <tr key={i}><td class="mono">{r.name}</td><td><Pill tone={r.error ? 'bad' : r.state === 'firing' ? 'bad' : r.state === 'pending' ? 'warn' : r.state === 'disabled' ? '' : 'good'}>{r.error ? 'broken' : r.state}</Pill></td><td class="mono muted wide-only">{r.file}</td><td>{r.host}</td><td class="num wide-only">{count(r.evaluations)}</td><td class="num wide-only">{r.evaluations > 0 ? nanoseconds(r.cost_ns / r.evaluations) : '–'}</td><td class="num wide-only">{count(r.errors)}</td><td class="wrap bad">{r.error}</td></tr>
      ))}</tbody>
    </table></div>
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
