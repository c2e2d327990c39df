// One profile, or a merge of many, in four views. Which view, what is searched, zoomed and focused is in the address.
import {useMemo, useState} from 'preact/hooks';
import type {Query} from '../api/client';
import type {ProfilePoint, ProfileTree, Source} from '../api/types';
import {count, milliseconds, percent, plural} from '../app/format';
import {useKeys} from '../app/keys';
import {param, setParams} from '../app/router';
import {Empty, Panel, Time} from '../components/basics';
import {SearchField} from '../components/search_field';
import {sourceName} from '../components/topbar';
import {buildTree, frameOf, functionId, search} from '../profile/call_tree';
import {Flame, zoomKey} from '../profile/flame';
import {type Measure, measureOf} from '../profile/measure';
import {Sandwich} from '../profile/sandwich';
import {TopTable} from '../profile/top_table';
import {TreeGrid} from '../profile/tree_grid';
import {cutTree, wantsAny} from '../profile/transform';
import {CallDetails} from './call_details';
import {type Base, baseLabel, type Choice, Compare} from './compare';
import {FoldMenu, Filters, wantedFromAddress} from './filters';
import {ExportMenu, SnapshotButton} from './share';

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
      <span>{measure.own ? '' : `${measure.amount(answer.total)} in `}{count(answer.samples)} {measure.counted}</span>
      {source && <span>{sourceName(source)}</span>}
      {point?.app_version && <span class="tag">{point.app_version}</span>}
      {point?.trigger && <span class="muted">taken by {point.trigger}</span>}
      {tags.length > 0 && <button type="button" class="button quiet" aria-expanded={open} onClick={() => setOpen(!open)}>Context</button>}
      {open && <dl class="row">{tags.map(([name, value]) => <span key={name} class="tag" title={value}>{name}={value}</span>)}</dl>}
    </div>
  );
}

/* How the two sides were made comparable, with times that people read. */
function howCompared(answer: ProfileTree, measure: Measure): string {
  const {comparison: c, before} = answer;
  if (measure.own) return 'Amounts in use at a moment are compared as they are.';
  if (c && before && c.mode === 'normalized' && c.by === 'duration') return `It covers ${milliseconds(before.duration_ms)}, what is shown ${milliseconds(answer.duration_ms)}: its amounts are multiplied by ${count(c.factor)}.`;
  if (c && before && c.mode === 'absolute' && c.by !== 'level') return `Both cover the same time, ${milliseconds(answer.duration_ms)}: amounts are compared as they are.`;
  return c?.text ?? (measure.absolute ? 'Both windows are equally long: amounts are compared.' : 'The windows differ in length: shares are compared.');
}

function HiddenNote({answer}: {answer: ProfileTree}) {
  const {hidden} = answer;
  if (!hidden || hidden.nodes === 0) return null;
  return <span>hidden: {percent(hidden.value / (answer.total || 1))}{answer.comparison && hidden.base_share !== undefined ? ` of what is shown and ${percent(hidden.base_share)} of the base` : ''} in {plural(hidden.nodes, 'call')} too small to send</span>;
}

const EMPTY_CAUSES: Record<string, string[]> = {
  cpu: ['The program was idle: it used no CPU while the profile was taken.'],
  heap: ['Nothing that was sampled is still in use.', 'The program allocates through an allocator that is not hooked: Sources says so.'],
};

export function ProfileView({answer, at, base, sources, point, query, kept = false, label = answer.type}: {
  answer: ProfileTree; at: Choice; base: Base; sources: Source[]; point: ProfilePoint | undefined; query: Query | null; kept?: boolean; label?: string;
}) {
  const asked = param('view') === 'diff' ? 'flame' : param('view');
  const view: View = VIEWS.find((v) => v.id === asked)?.id ?? 'tree';
  const folded = param('names') !== 'full';
  const typed = param('q');
  const compared = base !== null && (answer.before?.profiles ?? 1) > 0; // against nothing, everything would be new
  const full = useMemo(() => buildTree(answer, folded, compared), [answer, folded, compared]);
  const wanted = wantedFromAddress();
  /* The sandwich is about the focus already; its list of functions stays whole. */
  const active = view === 'sandwich' ? {...wanted, focus: ''} : wanted;
  const cut = useMemo(() => wantsAny(active) ? cutTree(full, active) : null, [full, JSON.stringify(active)]);
  const tree = cut?.tree ?? full;
  const measure = useMemo(() => measureOf(answer), [answer]);
  const found = useMemo(() => typed ? search(tree, typed) : null, [tree, typed]);
  const [chosen, setChosen] = useState(0);
  const chosenNode = chosen ? tree.key.indexOf(chosen) : -1;
  const show = (id: View): void => setParams({view: id === 'tree' ? null : id});
  useKeys({'1': () => show('tree'), '2': () => show('flame'), '3': () => show('top'), '4': () => show('sandwich')});
  const sandwich = (id: string): void => setParams({view: 'sandwich', focus: id});
  const whole = tree.whole || 1;
  const name = `${label} profile`;
  const focusIsLost = wanted.focus !== '' && cut !== null && cut.tree.size <= 1;

  return (
    <Panel flush>
      <div class="profile-bar">
        <div class="segmented" role="group" aria-label="View">
          {VIEWS.map((v) => <button type="button" key={v.id} aria-pressed={v.id === view} onClick={() => show(v.id)}>{v.label}</button>)}
        </div>
        <SearchField label="Search functions, files, libraries" hint="Search calls" />
        {found && <span class="small nowrap" role="status">{found.count === 0 ? 'no match' : <><b>{percent(found.value / whole)}</b> in {plural(found.count, 'call')}</>}</span>}
        <span class="grow" />
        <FoldMenu wanted={wanted} folded={folded} />
        {!kept && <Compare answer={answer} at={at} base={base} sources={sources} />}
        {!kept && query && <SnapshotButton query={query} />}
        <ExportMenu query={query} flame={view === 'flame'} />
      </div>
      <Facts answer={answer} measure={measure} at={at} point={point} sources={sources} />
      {base && <div class="profile-facts"><span class="notice">
        {tree.hasBase && (answer.before?.profiles ?? 0) > 0 ? <>Compared with {baseLabel(base, sources)}: {plural(answer.before?.profiles ?? 0, 'profile')}. {howCompared(answer, measure)}</>
          : 'There is no profile in the base, so nothing is compared.'}</span></div>}
      <Filters wanted={active} cut={cut} tree={full} version={kept ? '' : param('version')} />
      {full.size <= 1 ? <Empty title="This profile has no calls" causes={[...EMPTY_CAUSES[answer.type] ?? ['Nothing of this kind happened while the profile was taken.'], 'All samples were lost: Sources shows losses and their reason.']} />
        : tree.size <= 1 ? <Empty title={focusIsLost ? 'The focused function is not in this profile' : 'Everything is ignored'}><button type="button" class="button" onClick={() => setParams({focus: null, ignore: null})}>Show everything</button></Empty>
          : view === 'flame' ? <Flame tree={tree} measure={measure} label={name} query={typed} zoom={param('zoom')} onZoom={(zoom) => setParams({zoom})} onSelect={(node) => setChosen(tree.key[node]!)} />
            : view === 'top' ? <TopTable tree={tree} measure={measure} query={typed} onPick={sandwich} />
              : view === 'sandwich' ? <Sandwich tree={tree} measure={measure} query={typed} focus={wanted.focus} onFocus={(id) => setParams({focus: id})} />
                : <TreeGrid tree={tree} measure={measure} label={name} query={typed} trend={answer.trend} trendWhole={compared ? 0 : answer.before?.total ?? 0} onSelect={(node) => setChosen(tree.key[node]!)} onFlame={(node) => setParams({view: 'flame', zoom: zoomKey(tree, node)})} />}
      {(view === 'tree' || view === 'flame') && chosenNode > 0 && <CallDetails key={functionId(frameOf(tree, chosenNode))} tree={tree} full={full} node={chosenNode} answer={answer} measure={measure} query={query ?? {}} view={view}
        onFlame={() => setParams({view: 'flame', zoom: zoomKey(tree, chosenNode)})} onTree={() => setParams({view: null})} onSandwich={() => sandwich(functionId(frameOf(tree, chosenNode)))} />}
      <div class="profile-foot">
        <span>{plural(tree.size - 1, 'call')}, {plural(answer.frames.length, 'frame')}</span>
        <HiddenNote answer={answer} />
        {typed && view === 'tree' && <span>only calls that lead to or from “{typed}” are shown</span>}
      </div>
    </Panel>
  );
}
