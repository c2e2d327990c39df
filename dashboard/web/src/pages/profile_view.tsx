// One profile, or a merge of many, in four views. Which view, what is searched, zoomed and focused is in the address.
import {useMemo, useState} from 'preact/hooks';
import type {Point, ProfilePoint, ProfileTree, Source} from '../api/types';
import {count, milliseconds, percent, plural} from '../app/format';
import {useKeys} from '../app/keys';
import {useData} from '../app/resource';
import {context, hrefWith, param, segments, setParams} from '../app/router';
import {now, range} from '../app/time';
import {Chart} from '../charts/chart';
import {CopyButton, Empty, Panel, Popover, Time} from '../components/basics';
import {SearchField} from '../components/search_field';
import {sourceName} from '../components/topbar';
import {buildTree, type CallTree, frameOf, functionId, nameOf, pathOf, search} from '../profile/call_tree';
import {Flame, zoomKey} from '../profile/flame';
import {type Measure, measureOf} from '../profile/measure';
import {Sandwich} from '../profile/sandwich';
import {TopTable} from '../profile/top_table';
import {TreeGrid} from '../profile/tree_grid';
import type {Choice} from './profiles';

const VIEWS = [
  {id: 'tree', label: 'Call tree'},
  {id: 'flame', label: 'Flame graph'},
  {id: 'top', label: 'Top functions'},
  {id: 'sandwich', label: 'Callers and callees'},
] as const;

type View = (typeof VIEWS)[number]['id'];

const CONTEXT_SHOWN = ['host', 'app_version', 'runtime_type', 'runtime_version', 'build_id', 'run_id', 'agent_version', 'os', 'pid', 'trigger', 'workload', 'tags'];

function contextTags(answer: ProfileTree): [string, string][] {
  const entries = Object.entries(answer.context ?? {});
  const text = (value: unknown): string => Array.isArray(value) ? value.map(String).join(' ') : typeof value === 'string' ? value : JSON.stringify(value);
  return entries.map(([name, value]): [string, string] => [name, value === null || value === undefined ? '' : text(value)])
    .filter(([, value]) => value !== '')
    .sort((a, b) => (CONTEXT_SHOWN.indexOf(a[0]) + 99) % 99 - (CONTEXT_SHOWN.indexOf(b[0]) + 99) % 99);
}

function Facts({answer, measure, at, point, sources}: {answer: ProfileTree; measure: Measure; at: Choice; point: ProfilePoint | undefined; sources: Source[]}) {
  const [open, setOpen] = useState(false);
  const tags = contextTags(answer);
  const source = point && sources.find((s) => s.id === point.source);
  return (
    <div class="profile-facts">
      {at?.id !== undefined
        ? <span><b>Profile of <Time ms={answer.start_ms} /></b>, {milliseconds(answer.duration_ms)} long</span>
        : <span><b>{plural(answer.profiles, 'profile')} merged</b>, <Time ms={answer.start_ms} /> – <Time ms={answer.end_ms} /></span>}
      <span><b>{measure.rate(answer.total)}</b> {answer.type === 'cpu' ? `of ${plural(answer.cores, 'core')}` : measure.rateHelp}</span>
      <span>{measure.amount(answer.total)} in {count(answer.samples)} samples</span>
      {source && <span>{sourceName(source)}</span>}
      {point?.app_version && <span class="tag">{point.app_version}</span>}
      {point?.trigger && <span class="muted">taken by {point.trigger}</span>}
      {tags.length > 0 && <button type="button" class="button quiet" aria-expanded={open} onClick={() => setOpen(!open)}>Context</button>}
      {open && <dl class="row">{tags.map(([name, value]) => <span key={name} class="tag" title={value}>{name}={value}</span>)}</dl>}
    </div>
  );
}

function Compare({answer, at, base}: {answer: ProfileTree; at: Choice; base: Choice}) {
  const r = range.value;
  const span = at?.from !== undefined ? at : at ? {from: answer.start_ms, to: answer.end_ms} : {from: r.from, to: r.to};
  const length = Math.max(1000, span.to - span.from);
  const back = (ms: number): string => `${Math.round(span.from - ms)}-${Math.round(span.to - ms)}`;
  const item = (label: string, value: string, close: () => void) => <button type="button" class="item" onClick={() => { setParams({base: value, zoom: null}); close(); }}>{label}</button>;
  if (base) return <a class="button" href={hrefWith({base: null})}>End comparison</a>;
  return (
    <Popover label="Compare" text="Compare">
      {(close) => <>
        {at?.id === undefined && item('With the same span just before', back(length), close)}
        {at?.id !== undefined && item('With the hour before', `${Math.round(span.from - 3_600_000)}-${Math.round(span.from)}`, close)}
        {item('With the same time yesterday', back(86_400_000), close)}
        {item('With the same time a week ago', back(7 * 86_400_000), close)}
        <p class="pad muted small">Or hold Shift and drag over the history above.</p>
      </>}
    </Popover>
  );
}

/* The call that is chosen in the tree: what it is in full, and how its share went in the 24 hours before. */
function CallDetails({tree, node, answer, onFlame, onSandwich}: {tree: CallTree; node: number; answer: ProfileTree; onFlame: () => void; onSandwich: () => void}) {
  const here = context.value!;
  const frame = frameOf(tree, node);
  const end = answer.end_ms || now.value;
  const from = end - 86_400_000;
  const trend = useData<{points: Point[]}>('/profiles/trend', {...here, type: answer.type, from, to: end, function: frame[0], module: frame[3]}, `trend ${answer.type} ${functionId(frame)}`);
  const points = trend.data?.points ?? [];
  const stack = pathOf(tree, node).slice(1).map((n) => frameOf(tree, n)[0]).join(';');
  return (
    <div class="profile-foot">
      <div class="stack tight grow">
        <div class="row"><strong class="mono wrap">{frame[0] || nameOf(tree, node)}</strong></div>
        <div class="row small muted">
          {frame[1] && <span class="mono">{frame[1]}{frame[2] > 0 ? `:${frame[2]}` : ''}</span>}{frame[3] && <span class="mono">{frame[3]}</span>}
          <button type="button" class="button" onClick={onFlame}>Show in the flame graph</button>
          <button type="button" class="button" onClick={onSandwich}>Callers and callees</button>
          <CopyButton text={stack} label="Copy the stack" />
        </div>
        {points.length > 1 && <Chart label={`Share of ${frame[0]} in the 24 hours before`} height={90} from={from} to={end} format={percent} lines={[{label: 'share', color: 'chart-1', points, fill: true}]} />}
      </div>
    </div>
  );
}

export function ProfileView({answer, at, base, sources, point, exportHref}: {
  answer: ProfileTree; at: Choice; base: Choice; sources: Source[]; point: ProfilePoint | undefined; exportHref: (format: string) => string;
}) {
  const asked = param('view');
  const view: View = VIEWS.find((v) => v.id === asked)?.id ?? 'tree';
  const folded = param('names') !== 'full';
  const query = param('q');
  const compared = base !== null;
  const tree = useMemo(() => buildTree(answer, folded, compared), [answer, folded, compared]);
  const measure = useMemo(() => measureOf(answer), [answer]);
  const found = useMemo(() => query ? search(tree, query) : null, [tree, query]);
  const [chosen, setChosen] = useState(0);
  const chosenNode = chosen ? tree.key.indexOf(chosen) : -1;
  const show = (id: View): void => setParams({view: id === 'tree' ? null : id});
  useKeys({'1': () => show('tree'), '2': () => show('flame'), '3': () => show('top'), '4': () => show('sandwich')});
  const sandwich = (id: string): void => setParams({view: 'sandwich', focus: id});
  const whole = tree.total[0]! || 1;
  const title = segments.value[4] ?? 'cpu';
  const label = `${title} profile`;

  return (
    <Panel flush>
      <div class="profile-bar">
        <div class="segmented" role="group" aria-label="View">
          {VIEWS.map((v) => <button type="button" key={v.id} aria-pressed={v.id === view} onClick={() => show(v.id)}>{v.label}</button>)}
        </div>
        <SearchField label="Search functions, files, libraries" />
        {found && <span class="small nowrap" role="status">{found.count === 0 ? 'no match' : <><b>{percent(found.value / whole)}</b> in {plural(found.count, 'call')}</>}</span>}
        <span class="grow" />
        <label class="check"><input type="checkbox" checked={folded} onChange={() => setParams({names: folded ? 'full' : null}, true)} />short names</label>
        <Compare answer={answer} at={at} base={base} />
        <Popover label="Export" icon="download" text="Export">
          {(close) => [['pprof', 'pprof (.pb.gz)'], ['folded', 'Folded stacks (.txt)'], ['json', 'JSON']].map(([format, text]) => <a class="item" key={format} href={exportHref(format!)} download onClick={close}>{text}</a>)}
        </Popover>
      </div>
      <Facts answer={answer} measure={measure} at={at} point={point} sources={sources} />
      {base && <div class="profile-facts"><span class="notice">
        {tree.hasBase && (answer.before?.profiles ?? 0) > 0 ? <>Compared with {plural(answer.before?.profiles ?? 0, 'profile')}. {measure.absolute ? 'Both windows are equally long: amounts are compared.' : 'The windows differ in length: shares are compared.'}</>
          : 'There is no profile in the base window, so nothing is compared.'}</span></div>}
      {tree.size <= 1 ? <Empty title="This profile has no calls" causes={['The program was idle: it used no CPU while the profile was taken.', 'All samples were lost: Sources shows losses and their reason.']} />
        : view === 'flame' ? <Flame tree={tree} measure={measure} label={label} query={query} zoom={param('zoom')} onZoom={(zoom) => setParams({zoom})} onSandwich={(node) => sandwich(functionId(frameOf(tree, node)))} />
          : view === 'top' ? <TopTable tree={tree} measure={measure} query={query} onPick={sandwich} />
            : view === 'sandwich' ? <Sandwich tree={tree} measure={measure} query={query} focus={param('focus')} onFocus={(id) => setParams({focus: id})} />
              : <TreeGrid tree={tree} measure={measure} label={label} query={query} trend={answer.trend} trendWhole={compared ? 0 : answer.before?.total ?? 0} onSelect={(node) => setChosen(tree.key[node]!)} onFlame={(node) => setParams({view: 'flame', zoom: zoomKey(tree, node)})} />}
      {view === 'tree' && chosenNode > 0 && <CallDetails tree={tree} node={chosenNode} answer={answer} onFlame={() => setParams({view: 'flame', zoom: zoomKey(tree, chosenNode)})} onSandwich={() => sandwich(functionId(frameOf(tree, chosenNode)))} />}
      <div class="profile-foot">
        <span>{plural(tree.size - 1, 'call')}, {plural(answer.frames.length, 'frame')}</span>
        {answer.hidden && answer.hidden.nodes > 0 && <span>hidden: {percent(answer.hidden.value / (answer.total || 1))} in {plural(answer.hidden.nodes, 'frame')} too small to send</span>}
        {query && view === 'tree' && <span>only calls that lead to or from “{query}” are shown</span>}
      </div>
    </Panel>
  );
}
