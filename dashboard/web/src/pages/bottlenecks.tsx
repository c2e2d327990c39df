// Bottlenecks of one kind: HTTP handlers, HTTP clients or databases. Which calls take the most time, how their percentiles went, and
// the call tree that says where the time of the chosen one goes, with the percentiles of every path.
import {useMemo, useState} from 'preact/hooks';
import {bottlenecksRequest, marksRequest} from '../api/requests';
import type {Annotation, Bottlenecks as Answer, Call, ProfileTree} from '../api/types';
import {count, inUnit, milliseconds, percent, plural} from '../app/format';
import {useData} from '../app/resource';
import {context, hrefKeeping, hrefWith, param, segments as pathParts} from '../app/router';
import {range} from '../app/time';
import type {Line} from '../charts/series';
import {Spark} from '../charts/spark';
import {Empty, Loaded, Panel, Pill} from '../components/basics';
import {ChartPanel} from '../components/chart_panel';
import {useCollectorTrouble} from '../components/collectors';
import {LastReport} from '../components/silence_of_data';
import {BOTTLENECKS} from '../components/nav';
import {SearchField} from '../components/search_field';
import {Page} from '../components/topbar';
import {buildTree} from '../profile/call_tree';
import {measureOf} from '../profile/measure';
import {TreeGrid} from '../profile/tree_grid';
import {deployMarks} from './marks';

const HELP: Record<string, string> = {
  http_handler: 'Handlers are measured with si_handler_start and si_handler_stop, and by themselves in programs on libmicrohttpd.',
  http_client: 'Calls through libcurl are measured by themselves; others with si_call_start(SI_CALL_HTTP, …).',
  database: 'SQLite, PostgreSQL, MySQL, Redis and MongoDB clients are measured by themselves; others with si_call_start(SI_CALL_SQL, …).',
  segment: 'Wrap code in SI_SEGMENT("name") { … }.',
};

type Sort = 'p95_ms' | 'p50_ms' | 'p99_ms' | 'max_ms' | 'count' | 'errors' | 'total_ms';

/* A percentile comes from a sketch, the longest is exact. */
function atMost(call: Call, ms: number): number {
  return call.max_ms > 0 ? Math.min(ms, call.max_ms) : ms;
}

function Charts({call, marks}: {call: Call; marks: ReturnType<typeof deployMarks>}) {
  const lines = useMemo((): Line[] => [
    {label: 'p50', color: 'chart-1', points: call.points.map((p) => [p[0], p[1]] as const)},
    {label: 'p95', color: 'chart-2', points: call.points.map((p) => [p[0], p[2]] as const)},
    {label: 'p99', color: 'chart-3', points: call.points.map((p) => [p[0], p[3]] as const)},
  ], [call]);
  const rates = useMemo((): Line[] => [
    {label: 'calls', color: 'chart-4', points: call.points.map((p) => [p[0], p[4]] as const)},
    ...(call.errors > 0 ? [{label: 'errors', color: 'chart-6', points: call.points.map((p) => [p[0], p[5] ?? 0] as const)}] : []),
  ], [call]);
  return (
    <div class="grid wide-left">
      <ChartPanel title={call.name} label={`Duration of ${call.name}`} lines={lines} format={milliseconds} height={150} sync="bottleneck" marks={marks} />
      <ChartPanel title="How often" label={`Count of ${call.name}`} lines={rates} format={count} height={150} sync="bottleneck" />
    </div>
  );
}

function Tree({call}: {call: Call}) {
  const here = context.value!;
  const r = range.value;
  const of = useData<ProfileTree>(call.tree ? '/bottlenecks/tree' : null, {...here, kind: call.kind, name: call.name, from: r.from, to: r.to, src: param('src')}, `bottleneck tree ${here.app} ${here.env} ${call.kind} ${call.name} ${param('src')}`);
  const tree = useMemo(() => of.data ? buildTree(of.data, param('names') !== 'full') : null, [of.data]);
  const measure = useMemo(() => of.data ? measureOf(of.data) : null, [of.data]);
  if (!call.tree) return <div class="body"><p class="muted small">No call tree: agents send stacks of calls that blocked long enough to be sampled.</p></div>;
  if (of.error?.code === 'no_tree') return <div class="body"><p class="muted small">No stack of this call was sampled in this range.</p></div>;
  return <Loaded of={of}>{() => tree && measure && tree.size > 1
    ? <TreeGrid tree={tree} measure={measure} percentiles={of.data?.percentiles} label={`Where ${call.name} waits`} query={param('stack')} compact="calls" />
    : <div class="body"><p class="muted small">No stack of this call was sampled in this range.</p></div>}</Loaded>;
}

function Table({calls, chosen, many}: {calls: Call[]; chosen: Call | undefined; many: boolean}) {
  const [sort, setSort] = useState<Sort>('total_ms');
  const rows = [...calls].sort((a, b) => b[sort] - a[sort]);
  const all = calls.reduce((sum, c) => sum + c.total_ms, 0) || 1;
  const head = (key: Sort, text: string, title: string, wide = false) => (
    <th scope="col" class={'num' + (wide ? ' wide-only' : '')} title={title} {...(sort === key ? {'aria-sort': 'descending' as const} : {})}><button type="button" onClick={() => setSort(key)}>{text}{sort === key ? ' ↓' : ''}</button></th>
  );
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label="Calls">
      <table class="data">
        <thead><tr><th scope="col">Call</th><th scope="col" class="wide-only">p95 over time</th>{head('total_ms', 'Of the time', 'Share of all time spent in calls of this kind')}{head('p50_ms', 'p50', 'Half of all took at most this', true)}{head('p95_ms', 'p95', '95 % took at most this')}{head('p99_ms', 'p99', '99 % took at most this', true)}{head('max_ms', 'Max', 'The longest', true)}{head('count', 'Count', 'How often in this range', true)}{head('errors', 'Errors', 'Ended with an error')}</tr></thead>
        <tbody>{rows.map((c) => (
          <tr key={`${c.kind}\n${c.name}`} class={c === chosen ? 'selected' : ''}>
            <td class="name"><a class="plain" title={c.name} href={hrefWith({name: c.name, kind: c.kind})} {...(c === chosen ? {'aria-current': 'true' as const} : {})}>{c.name}</a> {many && <span class="muted tiny">{c.kind}</span>}</td>
            <td class="wide-only spark-cell"><Spark points={c.points.map((p) => [p[0], p[2]])} /></td>
            <td class="num">{percent(c.total_ms / all)}</td>
            <td class="num wide-only">{milliseconds(atMost(c, c.p50_ms))}</td><td class="num"><b>{milliseconds(atMost(c, c.p95_ms))}</b></td><td class="num wide-only">{milliseconds(atMost(c, c.p99_ms))}</td><td class="num wide-only">{milliseconds(c.max_ms)}</td>
            <td class="num wide-only">{count(c.count)} <span class="muted tiny">{inUnit(c.rate, '1/s')}</span></td>
            <td class={'num' + (c.errors > 0 ? ' bad' : '')}>{c.errors > 0 ? `${count(c.errors)} (${percent(c.errors / Math.max(1, c.count))})` : '0'}</td>
          </tr>
        ))}</tbody>
      </table>
    </div>
  );
}

export function Bottlenecks() {
  const here = context.value!;
  const r = range.value;
  const kind = pathParts.value[4] ?? 'http_handler';
  const title = BOTTLENECKS.find((b) => b.kind === kind)?.title ?? kind;
  const of = useData<Answer>(...bottlenecksRequest(here, kind, r, param('src')), `bottlenecks ${here.app} ${here.env} ${kind} ${param('src')}`);
  const notes = useData<{annotations: Annotation[]}>(...marksRequest(here, r), `marks ${here.app} ${here.env}`);
  const marks = useMemo(() => deployMarks(notes.data?.annotations), [notes.data]);
  const trouble = useCollectorTrouble(here, kind);
  const q = param('q').toLowerCase();
  return (
    <Page title={title} sourced>
      <Loaded of={of}>{(data) => {
        const list = data.calls.filter((c) => c.name.toLowerCase().includes(q));
        const named = list.find((c) => c.name === param('name') && (!param('kind') || c.kind === param('kind')));
        const chosen = named ?? [...list].sort((a, b) => b.total_ms - a.total_ms)[0];
        if (data.calls.length === 0) {
          return <Panel><Empty title={`No ${title} in this time range`} causes={[...trouble, HELP[kind] ?? 'The program does none.', 'None ran in this range.', 'The first report comes after a minute.']}><LastReport /><a class="button" href={hrefKeeping('/sources', {...here, src: null})}>See the sources</a></Empty></Panel>;
        }
        return <>
          <div class="row"><SearchField label={`Search ${title}`} /></div>
          <Panel flush title={<>{plural(list.length, 'call')} <span class="muted small">the most time first</span></>} footer={<>{data.hidden && data.hidden.calls > 0 ? `hidden: ${percent(data.hidden.share)} of the time in ${plural(data.hidden.calls, 'call')}. ` : ''}Percentiles are merged from sketches with at most 1 % error; they are never averages of percentiles.</>}>
            <Table calls={list} chosen={chosen} many={new Set(list.map((c) => c.kind)).size > 1} />
          </Panel>
          {list.length === 0 && <p class="muted">No call matches.</p>}
          {chosen && <>
            <Charts call={chosen} marks={marks} />
            <Panel flush title={<>Where the time goes <span class="muted small">call tree of {chosen.name}</span></>} actions={chosen.errors > 0 ? <Pill tone="bad">{plural(chosen.errors, 'error')}</Pill> : undefined}
              footer={chosen.tree ? <>Of the first row everything is exact. Below it, stacks are sampled by time: short calls rarely, and then they stand for many. The percentiles of a path are those of its own calls and all below it.</> : undefined}><Tree key={`${chosen.kind}\n${chosen.name}`} call={chosen} /></Panel>
          </>}
        </>;
      }}</Loaded>
    </Page>
  );
}
