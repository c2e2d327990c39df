// Errors by group: how many over time, and the stacks that raised them with their counts.
import {useMemo} from 'preact/hooks';
import type {ErrorGroup, ProfileTree} from '../api/types';
import {count, plural} from '../app/format';
import {useData} from '../app/resource';
import {context, hrefWith, param} from '../app/router';
import {range} from '../app/time';
import type {Line} from '../charts/series';
import {Spark} from '../charts/spark';
import {Empty, Loaded, Panel, Time} from '../components/basics';
import {ChartPanel} from '../components/chart_panel';
import {LastReport} from '../components/silence_of_data';
import {SearchField} from '../components/search_field';
import {Page} from '../components/topbar';
import {buildTree} from '../profile/call_tree';
import type {Measure} from '../profile/measure';
import {TreeGrid} from '../profile/tree_grid';

function Stacks({group}: {group: ErrorGroup}) {
  const here = context.value!;
  const r = range.value;
  const of = useData<ProfileTree>('/errors/tree', {...here, group: group.group, from: r.from, to: r.to}, `errors ${here.app} ${here.env} ${group.group}`);
  const tree = useMemo(() => of.data ? buildTree(of.data, param('names') !== 'full') : null, [of.data]);
  const minutes = Math.max(1, (r.to - r.from) / 60_000);
  const measure: Measure = {rateTitle: 'Per minute', rateHelp: 'errors per minute', rate: (v) => count(v / minutes), amount: (v) => plural(v, 'error'), baseScale: 1, absolute: true, counted: 'errors'};
  return (
    <Loaded of={of}>{() => tree && tree.size > 1
      ? <TreeGrid tree={tree} measure={measure} label={`Stacks of ${group.group}`} query={param('stack')} compact="callees" />
      : <Empty title="No stacks were recorded for this group" causes={['Its agent sends stacks of the most frequent errors only.', 'The error was recorded where no stack can be taken.']} />}</Loaded>
  );
}

function Groups({groups, chosen}: {groups: ErrorGroup[]; chosen: ErrorGroup | undefined}) {
  const r = range.value;
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label="Error groups">
      <table class="data">
        <thead><tr><th scope="col">Group</th><th scope="col">Last message</th><th scope="col" class="wide-only">Over time</th><th scope="col" class="num">Count</th><th scope="col" class="num wide-only">First</th><th scope="col" class="num">Last</th></tr></thead>
        <tbody>
          {groups.map((g) => (
            <tr key={g.group} class={g === chosen ? 'selected' : ''}>
              <td class="name"><a class="plain" href={hrefWith({group: g.group})} {...(g === chosen ? {'aria-current': 'true' as const} : {})}>{g.group}</a></td>
              <td class="wrap muted">{g.message}</td><td class="wide-only spark-cell"><Spark points={g.points} from={r.from} to={r.to} bad /></td>
              <td class="num">{count(g.count)}</td><td class="num wide-only"><Time ms={g.first_ms} relative /></td><td class="num"><Time ms={g.last_ms} relative /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Errors() {
  const here = context.value!;
  const r = range.value;
  const of = useData<{groups: ErrorGroup[]}>('/errors', {...here, from: r.from, to: r.to, src: param('src')}, `errors ${here.app} ${here.env} ${param('src')}`);
  const q = param('q').toLowerCase();
  const groups = (of.data?.groups ?? []).filter((g) => `${g.group} ${g.message}`.toLowerCase().includes(q)).sort((a, b) => b.count - a.count);
  const chosen = groups.find((g) => g.group === param('group')) ?? groups[0];
  const lines = useMemo((): Line[] => chosen ? [{label: chosen.group, color: 'chart-6', points: chosen.points, fill: false, dots: chosen.points.length < 60}] : [], [of.data, chosen?.group]);
  return (
    <Page title="Errors" sourced>
      <Loaded of={of}>{(data) => data.groups.length === 0
        ? <Panel><Empty title="No errors in this time range" causes={['All is well.', 'The program records none: call si_error_record("group", "message") where it handles one.']}><LastReport /></Empty></Panel>
        : <>
          <div class="row"><SearchField label="Search errors" /></div>
          <Panel flush title={`${plural(groups.length, 'group')}, ${plural(groups.reduce((sum, g) => sum + g.count, 0), 'error')}`}><Groups groups={groups} chosen={chosen} /></Panel>
          {chosen && <>
            <ChartPanel title={chosen.group} label={`Errors of ${chosen.group} over time`} lines={lines} format={count} height={130} />
            <Panel flush title="Stacks"><Stacks group={chosen} /></Panel>
          </>}
        </>}</Loaded>
    </Page>
  );
}
