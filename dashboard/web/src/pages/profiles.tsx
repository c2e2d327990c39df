// Profiles of one type: their history as a chart; a point opens that profile, a dragged span merges, Shift and a dragged span
// compares. The same page serves every type that an agent sends.
import {useMemo} from 'preact/hooks';
import type {Query} from '../api/query';
import {historyRequest, marksRequest, rangeSelection, sourcesRequest, treeRequest} from '../api/requests';
import type {Annotation, ProfileHistory, ProfilePoint, ProfileTree, Source} from '../api/types';
import {count, inUnit, plural} from '../app/format';
import {useKeys} from '../app/keys';
import {useData} from '../app/resource';
import {context, hrefKeeping, param, params, segments, setParams} from '../app/router';
import {chooseAbsolute, range} from '../app/time';
import {Chart} from '../charts/chart';
import type {Line} from '../charts/series';
import {Empty, Failure, Loaded, Panel, Time} from '../components/basics';
import {Legend} from '../components/chart_panel';
import {useCollectorTrouble} from '../components/collectors';
import {LastReport} from '../components/silence_of_data';
import {Icon} from '../components/icon';
import {Page, sourceName} from '../components/topbar';
import {perSecond, typeFigure, typeTitle, valueUnit} from '../profile/measure';
import {type Base, baseQuery, type Choice, parseBase, parseChoice, spanBefore} from './compare';
import {ProfileView} from './profile_view';
import {deployMarks, MarkButton} from './marks';

function spanOf(choice: Base, points: ProfilePoint[]): {from: number; to: number} | null {
  if (!choice || 'src' in choice) return null;
  if ('version' in choice) return choice.from && choice.to ? {from: choice.from, to: choice.to} : null;
  if (choice.id === undefined) return choice;
  const point = points.find((p) => p.id === choice.id);
  return point ? {from: point.t, to: point.t + Math.min(point.duration_ms, 1)} : null;
}

const COLORS = ['chart-1', 'chart-2', 'chart-3', 'chart-4', 'chart-5', 'chart-6'];

/* One line a source, at most as many as there are colours; the rest share the last. `joined`: all sources in one sequence. */
function linesOf(points: ProfilePoint[], sources: Source[], joined: boolean): {lines: Line[]; ids: Map<string, number>} {
  const bySource = new Map<number, ProfilePoint[]>();
  for (const point of points) bySource.set(point.source, [...bySource.get(point.source) ?? [], point]);
  const ids = new Map<string, number>();
  const groups = joined ? [] : [...bySource].sort((a, b) => b[1].length - a[1].length);
  const kept = groups.slice(0, COLORS.length - 1);
  const rest = groups.slice(COLORS.length - 1).flatMap((group) => group[1]).sort((a, b) => a.t - b.t);
  const all: [string, ProfilePoint[]][] = joined ? [['all sources', points]] : kept.map(([id, list]) => {
    const source = sources.find((s) => s.id === id);
    return [source ? sourceName(source) : `source ${id}`, list];
  });
  if (rest.length > 0) all.push([plural(groups.length - kept.length, 'other source'), rest]);
  const lines = all.map(([label, list], i): Line => {
    for (const point of list) ids.set(`${i}/${point.t}`, point.id);
    const sorted = [...list].sort((a, b) => a.t - b.t);
    return {label, color: COLORS[i]!, points: sorted.map((p) => [p.t, p.value] as const), fill: all.length === 1, dots: list.length < 400};
  });
  return {lines, ids};
}

/* The figure of one profile: a rate where profiles of other lengths could not be compared otherwise. */
function figureOf(point: ProfilePoint, rate: boolean): number {
  return rate && point.duration_ms > 0 ? point.value / (point.duration_ms / 1000) : point.value;
}

function History({history, sources, annotations, at, base, table, joined}: {
  history: ProfileHistory; sources: Source[]; annotations: Annotation[]; at: Choice; base: Base; table: boolean; joined: boolean;
}) {
  const r = range.value;
  const marks = useMemo(() => deployMarks(annotations), [annotations]);
  const rate = perSecond(history.type, history.unit);
  const unit = valueUnit(history.type, history.unit) + (rate ? '/s' : '');
  const {lines, ids} = useMemo(() => linesOf(history.points.map((p) => ({...p, value: figureOf(p, rate)})), sources, joined), [history, sources, joined]);
  const format = (v: number): string => inUnit(v, unit);
  const choose = (line: number, t: number): void => {
    const id = ids.get(`${line}/${t}`);
    if (id !== undefined) setParams({at: id, zoom: null});
  };
  if (table) {
    return (
      <div class="table-scroll" tabIndex={0} role="region" aria-label="Profiles in this range">
        <table class="data">
          <thead><tr><th scope="col">Profile</th><th scope="col" class="num">{typeFigure(history.type, history.unit)}</th><th scope="col" class="num">Samples</th><th scope="col">Source</th><th scope="col">Version</th><th scope="col">Trigger</th></tr></thead>
          <tbody>{[...history.points].reverse().slice(0, 300).map((p) => (
            <tr key={p.id} class={at?.id === p.id ? 'selected' : ''}>
              <td><button type="button" class="button quiet" onClick={() => setParams({at: p.id, zoom: null})}><Time ms={p.t} /></button></td>
              <td class="num">{format(figureOf(p, rate))}</td><td class="num">{count(p.samples)}</td><td>{sources.find((s) => s.id === p.source)?.host ?? p.source}</td><td>{p.app_version}</td><td>{p.trigger}</td>
            </tr>
          ))}</tbody>
        </table>
      </div>
    );
  }
  return <>
    <Chart label={`History of ${typeTitle(history.type)}: ${plural(history.points.length, 'profile')}`} lines={lines} format={format} from={r.from} to={r.to} height={150} marks={marks} binary={/^(By|bytes)/.test(unit)}
      selected={spanOf(at, history.points)} compared={spanOf(base, history.points)} onPick={choose}
      onDrag={(from, to, shift) => setParams({[shift ? 'base' : 'at']: `${Math.round(from)}-${Math.round(to)}`, zoom: null})} />
    {lines.length > 1 && <Legend lines={lines} />}
  </>;
}

/* From where the address says that we are: keys come faster than pages are drawn. */
function step(points: ProfilePoint[], by: number): void {
  const at = parseChoice(param('at'));
  const sorted = [...points].sort((a, b) => a.t - b.t);
  if (sorted.length === 0) return;
  let i = sorted.findIndex((p) => p.id === at?.id);
  i = i < 0 ? (by < 0 ? sorted.length - 1 : 0) : Math.min(Math.max(i + by, 0), sorted.length - 1);
  setParams({at: sorted[i]!.id, zoom: null});
}

function selectionOf(at: Choice): Query {
  const r = range.value;
  if (at?.id !== undefined) return {at: at.id};
  return rangeSelection(at ? {...at, relative: ''} : r, params.value);
}

function NoProfiles({type, waits}: {type: string; waits: boolean}) {
  const trouble = useCollectorTrouble(context.value, type);
  return (
    <Empty title="No profiles in this time range" causes={[
      ...trouble,
      'The program did not run, or its agent was stopped: see Sources.',
      ...(trouble.length > 0 ? [] : [`The ${type} profiler is off or not available there: Sources says why.`]),
      ...(waits ? ['Nothing waited there in this time.'] : []),
      'The clock of that machine is off by more than this range.',
      'Retention has removed profiles this old.',
    ]}><LastReport /><a class="button" href={hrefKeeping('/sources', {...context.value, src: null})}>See the sources</a></Empty>
  );
}

export function Profiles() {
  const here = context.value!;
  const type = segments.value[4] ?? 'cpu';
  const src = param('src');
  const at = parseChoice(param('at'));
  const r = range.value;
  const base = parseBase(param('base') || (param('view') === 'diff' ? spanBefore(at?.from ?? r.from, at?.to ?? r.to) : ''));
  const table = param('table') === '1';
  const joined = param('lines') === 'one';
  const about = `${here.app} ${here.env} ${type} ${src}`;
  const history = useData<ProfileHistory>(...historyRequest(here, type, r, src), `history ${about}`);
  const sources = useData<{sources: Source[]}>(...sourcesRequest(here), `sources ${here.app} ${here.env}`);
  const marks = useData<{annotations: Annotation[]} | Annotation[]>(...marksRequest(here, r), `marks ${here.app} ${here.env}`);
  const annotations = Array.isArray(marks.data) ? marks.data : marks.data?.annotations ?? [];
  const query = {...here, type, ...selectionOf(at), ...baseQuery(base)};
  const any = (history.data?.points.length ?? 0) > 0 || at !== null;
  const tree = useData<ProfileTree>(...treeRequest(here, type, selectionOf(at), baseQuery(base)), `tree ${about} ${param('at')} ${param('base')} ${param('version')} ${param('view') === 'diff'}`);
  const points = history.data?.points ?? [];
  useKeys({'[': () => step(points, -1), ']': () => step(points, 1), 'm': () => setParams({at: null, base: null, zoom: null})});

  return (
    <Page title={typeTitle(type)} sourced>
      <Panel title={<>Profile history <span class="muted small">{typeFigure(type, history.data?.unit ?? '')}{history.data ? `, ${plural(points.length, 'profile')}${history.data.truncated ? ' (of each stretch the highest)' : ''}` : ''}</span></>}
        actions={<>
          <span class="muted tiny chart-hint">click: one profile · drag: merge · Shift-drag: compare</span>
          {at?.from !== undefined && <button type="button" class="button" onClick={() => { setParams({at: null}, true); chooseAbsolute(at.from, at.to); }}>Zoom to selection</button>}
          <button type="button" class="button" aria-pressed={at === null} title="Merge all profiles of the time range (m)" onClick={() => setParams({at: null, zoom: null})}>Whole range</button>
          <span class="row tight"><button type="button" class="button icon" aria-label="Profile before" title="Profile before ([)" onClick={() => step(points, -1)}><Icon name="left" /></button>
            <button type="button" class="button icon" aria-label="Profile after" title="Profile after (])" onClick={() => step(points, 1)}><Icon name="chevron" /></button></span>
          {new Set(points.map((p) => p.source)).size > 1 && <button type="button" class="button" aria-pressed={joined} title="All sources in one sequence, or a line each" onClick={() => setParams({lines: joined ? null : 'one'}, true)}>One sequence</button>}
          <MarkButton onDone={marks.reload} />
          <button type="button" class="button quiet icon" aria-pressed={table} aria-label="Profile history: show as table" title="Show as table" onClick={() => setParams({table: table ? null : 1}, true)}><Icon name="table" /></button>
        </>}>
        <Loaded of={history}>{(data) => data.points.length === 0 ? <NoProfiles type={type} waits={/^(network|system|lock|channel)$/.test(type)} />
          : <History history={data} sources={sources.data?.sources ?? []} annotations={annotations} at={at} base={base} table={table} joined={joined} />}</Loaded>
      </Panel>
      {any && tree.data === undefined && tree.error && <Failure error={tree.error} retry={tree.reload} />}
      {any && tree.data === undefined && !tree.error && <div class="skeleton" role="status" aria-label="Loading the profile" />}
      {any && tree.data && <ProfileView key={type} answer={tree.data} at={at} base={base} sources={sources.data?.sources ?? []} point={points.find((p) => p.id === at?.id)} query={query} label={type} />}
    </Page>
  );
}

