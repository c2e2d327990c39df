// The call tree as an ARIA treegrid. Rows are drawn only where they are visible, so that 100,000 open calls scroll like ten.
// The grid has the focus and names the active row (aria-activedescendant); rows are found again by the key of their path, so
// what is open stays open when newer data arrives.
import {useEffect, useId, useMemo, useRef, useState} from 'preact/hooks';
import type {Percentiles, Point} from '../api/types';
import {change, count, percent} from '../app/format';
import {Spark} from '../charts/spark';
import {Icon} from '../components/icon';
import {type CallTree, childrenOf, frameOf, isNoise, nameOf, search as searchTree} from './call_tree';
import type {Measure} from './measure';
import {kindOf, place} from './names';
import {Calls, Percentile} from './path_percentiles';

const ROW = 26;
const OVERSCAN = 10;
const DEEPEST_INDENT = 40;
const MAX_OPEN_AT_ONCE = 20_000;

export interface TreeGridProps {
  tree: CallTree;
  measure: Measure;
  label: string;
  query: string;
  /** How shares went in the 24 h before: of the top calls as lines; of all others their share of `trendWhole`, the total then. */
  trend?: Record<string, Point[]> | undefined;
  trendWhole?: number;
  /** Other columns. 'callers': the tree reads upwards, where nothing has a share of its own. 'calls': of named calls. */
  compact?: 'callers' | 'callees' | 'calls';
  /** Of the answer's nodes, for 'calls'. */
  percentiles?: (Percentiles | null)[] | undefined;
  onSelect?: (node: number) => void;
  onFlame?: (node: number) => void;
}

/* Opens the way that most of the value takes: what one would click anyway. */
function hotPath(tree: CallTree): Set<number> {
  const open = new Set<number>([tree.key[0]!]);
  const walk = [0];
  const heaviness = (node: number): number => tree.hasBase ? Math.max(tree.total[node]!, tree.base[node]!) : tree.total[node]!;
  const enough = heaviness(0) * 0.1;
  while (walk.length > 0 && open.size < 40) {
    const node = walk.shift()!;
    const children = childrenOf(tree, node);
    if (children.length > 8 && heaviness(children[0]!) < 0.1 * heaviness(node)) continue; // a crowd of small calls
    open.add(tree.key[node]!);
    if (tree.depth[node]! > 24) continue;
    for (const child of children.slice(0, 2)) {
      const weight = heaviness(child);
      if (weight >= enough && (child === children[0] || weight > 0.3 * tree.total[node]!)) walk.push(child);
    }
  }
  return open;
}

interface Search {
  hit: Uint8Array;
  within: Uint8Array;
}

function visibleRows(tree: CallTree, open: Set<number>, found: Search | null): Int32Array {
  const out = new Int32Array(tree.size);
  let n = 0;
  const walk = [0];
  while (walk.length > 0) {
    const node = walk.pop()!;
    if (found && node > 0 && !found.within[node]) continue;
    out[n++] = node;
    const searchOpens = found !== null && (found.within[node]! & 1) !== 0;
    if (!open.has(tree.key[node]!) && !searchOpens) continue;
    const children = childrenOf(tree, node);
    for (let i = children.length - 1; i >= 0; i--) walk.push(children[i]!);
  }
  return out.subarray(0, n);
}

export function Marked({text, query}: {text: string; query: string}) {
  const at = query ? text.toLowerCase().indexOf(query.toLowerCase()) : -1;
  if (at < 0) return <>{text}</>;
  return <>{text.slice(0, at)}<mark>{text.slice(at, at + query.length)}</mark>{text.slice(at + query.length)}</>;
}

export function Share({total, self}: {total: number; self: number}) {
  return (
    <div class="share">
      <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
        <rect class="total" width={Math.min(100, total * 100)} height="10" />
        <rect class="self" width={Math.min(100, self * 100)} height="10" />
      </svg>
      <b>{percent(total)}</b>
    </div>
  );
}

function Trend({points, share, before, noise}: {points: Point[] | undefined; share: number; before: number; noise: boolean}) {
  const text = change(before, share);
  const direction = noise ? '' : share > before * 1.1 ? 'up' : share < before * 0.9 ? 'down' : '';
  return (
    <span class="trend" title={`${percent(before)} in the 24 hours before, now ${percent(share)}${noise ? ': no more than chance' : ''}`}>
      <Spark points={points ?? []} area={false} />
      <span class={noise ? 'muted' : direction}>{direction === 'up' ? '▲ ' : direction === 'down' ? '▼ ' : ''}{text}</span>
    </span>
  );
}

export function Delta({tree, before, after}: {tree: CallTree; before: number; after: number}) {
  const moved = after - before;
  if (isNoise(tree, after, before)) return <span class="muted" title="No more than chance: so few samples vary by themselves">same</span>;
  return <span class={moved > 0 ? 'bad' : 'good'}>{moved > 0 ? '▲ ' : '▼ '}{change(before, after)}</span>;
}

function signed(value: number, write: (value: number) => string): string {
  return value === 0 ? write(0) : (value > 0 ? '+' : '−') + write(Math.abs(value));
}

interface RowProps extends TreeGridProps {
  prefix: string; // of element ids: a page may show two grids
  node: number;
  index: number;
  open: boolean;
  active: boolean;
  hit: boolean;
  onToggle: (node: number) => void;
  onActivate: (node: number) => void;
}

function Row(props: RowProps) {
  const {tree, measure, node, index, open, active} = props;
  const whole = tree.whole || 1;
  const total = tree.total[node]!;
  const self = props.compact === 'callers' ? 0 : tree.self[node]!;
  const frame = frameOf(tree, node);
  const hasChildren = tree.childCount[node]! > 0;
  const where = node === 0 && tree.rootFrame < 0 ? '' : place(frame);
  const base = tree.base[node]! * measure.baseScale;
  const percentiles = props.percentiles?.[tree.origin[node]!];
  return (
    <div class="trow" role="row" id={`${props.prefix}-${node}`} aria-level={tree.depth[node]! + 1} aria-rowindex={index + 2} aria-selected={active}
      {...(hasChildren ? {'aria-expanded': open} : {})} style={{transform: `translateY(${index * ROW}px)`}}
      onClick={() => props.onActivate(node)} onDblClick={() => hasChildren && props.onToggle(node)}>
      <div role="gridcell" class="call">
        <span class="guide" style={{width: `calc(var(--indent) * ${Math.min(tree.depth[node]!, DEEPEST_INDENT)})`}} />
        {hasChildren
          ? <button type="button" class="twist" tabIndex={-1} aria-label={open ? 'Close' : 'Open'} onClick={(event) => { event.stopPropagation(); props.onToggle(node); }}><Icon name="chevron" /></button>
          : <span class="twist" />}
        {(node > 0 || tree.rootFrame >= 0) && <i class={`dot f-${kindOf(frame)}`} aria-hidden="true" />}
        <span class="fn" title={frame[0]}>{props.hit ? <Marked text={nameOf(tree, node)} query={props.query} /> : nameOf(tree, node)}</span>
        {where && <span class="where" title={`${frame[1]}${frame[2] > 0 ? ':' + String(frame[2]) : ''} in ${frame[3]}`}>{where}</span>}
      </div>
      <div role="gridcell"><Share total={total / whole} self={self / whole} /></div>
      {props.compact === 'calls' ? <>
        <div role="gridcell" class="num opt">{measure.amount(total)}</div>
        <div role="gridcell" class="num opt"><Calls of={percentiles} calls={tree.samples[node]!} whole={node === 0} /></div>
        <div role="gridcell" class="num opt"><Percentile of={percentiles} which={0} calls={tree.samples[node]!} whole={node === 0} /></div>
        <div role="gridcell" class="num"><Percentile of={percentiles} which={1} calls={tree.samples[node]!} whole={node === 0} /></div>
        <div role="gridcell" class="num opt"><Percentile of={percentiles} which={2} calls={tree.samples[node]!} whole={node === 0} /></div>
      </> : props.compact ? <>
        {props.compact === 'callees' && <div role="gridcell" class="num opt">{percent(self / whole)}</div>}
        <div role="gridcell" class="num opt">{measure.rate(total)}</div>
        <div role="gridcell" class="num opt">{measure.amount(total)}</div>
      </> : tree.hasBase ? <>
        <div role="gridcell" class="num opt">{percent(base / (tree.baseWhole * measure.baseScale || 1))}</div>
        <div role="gridcell" class="num opt"><Delta tree={tree} before={base} after={total} /></div>
        <div role="gridcell" class="num opt">{measure.rate(total)}</div>
        <div role="gridcell" class="num opt">{signed(total - base, measure.amount)}</div>
        <div role="gridcell" class="num opt">{count(tree.samples[node])}</div>
        <div role="gridcell" class="opt"><span class="trend"><Spark points={props.trend?.[String(tree.origin[node])] ?? []} area={false} /></span></div>
      </> : <>
        <div role="gridcell" class="num opt">{percent(self / whole)}</div>
        <div role="gridcell" class="num opt">{measure.rate(total)}</div>
        <div role="gridcell" class="num opt">{measure.amount(measure.own ? self : total)}</div>
        <div role="gridcell" class="num opt">{count(tree.samples[node])}</div>
        <div role="gridcell" class="opt">{props.trendWhole
          ? <Trend points={props.trend?.[String(tree.origin[node])]} share={total / whole} before={tree.base[node]! / props.trendWhole} noise={isNoise(tree, total, tree.base[node]! / props.trendWhole * whole)} />
          : <span class="trend"><Spark points={props.trend?.[String(tree.origin[node])] ?? []} area={false} /></span>}</div>
      </>}
    </div>
  );
}

function Head({diff, measure, compact}: {diff: boolean; measure: Measure; compact: TreeGridProps['compact']}) {
  const column = (text: string, title: string, className = 'num opt') => <div role="columnheader" class={className} title={title}>{text}</div>;
  return (
    <div class="head" role="row" aria-rowindex={1}>
      {column('Call', 'Function, where it is, and the library it belongs to', '')}
      {column('Share', 'Of this profile: the call with all it calls; the darker part is the call itself', '')}
      {compact === 'calls' ? <>
        {column('Time', 'Time in the calls of this path, all together')}
        {column('Calls', 'How many calls came this way: estimated from the sampled stacks, of the first row exact')}
        {column('p50', 'Half of the calls took at most this')}
        {column('p95', '95 % of the calls took at most this; ≈ where the samples are too few to say', 'num')}
        {column('p99', '99 % of the calls took at most this')}
      </> : compact ? <>
        {compact === 'callees' && column('Self', 'Share of the call itself, without what it calls')}
        {column(measure.rateTitle, measure.rateHelp)}
        {column('Total', 'Amount in the call and what it calls')}
      </> : diff ? <>
        {column('Before', 'Share in the base profile')}
        {column('Change', measure.absolute ? 'Amounts compared: both windows are equally long' : 'Amounts compared, the base scaled to the same time')}
        {column(measure.rateTitle, measure.rateHelp)}
        {column('Difference', 'Now less before')}
        {column(measure.counted[0]!.toUpperCase() + measure.counted.slice(1), `Number of ${measure.counted} in this call and what it calls`)}
        {column('24 h', 'Share of the heaviest calls in the 24 hours up to here', 'opt')}
      </> : <>
        {column('Self', 'Share of the call itself, without what it calls')}
        {column(measure.rateTitle, measure.rateHelp)}
        {measure.own ? column('Own', 'Amount of the call itself') : column('Total', 'Amount in the call and what it calls')}
        {column(measure.counted[0]!.toUpperCase() + measure.counted.slice(1), `Number of ${measure.counted} in this call and what it calls`)}
        {column('Trend, 24 h', 'Share of the heaviest calls up to here, and the change against the 24 hours before where there are profiles of that time', 'opt')}
      </>}
    </div>
  );
}

export function TreeGrid(props: TreeGridProps) {
  const {tree, query} = props;
  const prefix = useId();
  const scroller = useRef<HTMLDivElement>(null);
  const [open, setOpen] = useState<Set<number>>(() => hotPath(tree));
  const touched = useRef(false);
  const [active, setActive] = useState(tree.key[0]!);
  const [view, setView] = useState({top: 0, height: 600});
  const found = useMemo(() => query ? searchTree(tree, query) : null, [tree, query]);
  const opened = useMemo(() => touched.current ? open : hotPath(tree), [open, tree]);
  const rows = useMemo(() => visibleRows(tree, opened, found), [tree, opened, found]);
  const activeIndex = Math.max(0, rows.findIndex((node) => tree.key[node] === active));

  useEffect(() => {
    const element = scroller.current!;
    const measureView = (): void => setView({top: element.scrollTop, height: element.clientHeight});
    measureView();
    element.addEventListener('scroll', measureView, {passive: true});
    const observer = new ResizeObserver(measureView);
    observer.observe(element);
    return () => {
      element.removeEventListener('scroll', measureView);
      observer.disconnect();
    };
  }, []);

  const setOpened = (change: (set: Set<number>) => void): void => {
    const next = new Set(opened);
    change(next);
    touched.current = true;
    setOpen(next);
  };
  const toggle = (node: number): void => setOpened((set) => {
    const key = tree.key[node]!;
    if (set.has(key)) set.delete(key);
    else set.add(key);
  });
  const activate = (index: number): void => {
    const node = rows[Math.min(Math.max(index, 0), rows.length - 1)];
    if (node === undefined) return;
    setActive(tree.key[node]!);
    props.onSelect?.(node);
    const element = scroller.current!;
    const top = index * ROW;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + ROW > element.scrollTop + element.clientHeight - 30) element.scrollTop = top + ROW - element.clientHeight + 30;
  };
  const openBelow = (node: number): void => setOpened((set) => {
    const walk = [node];
    let n = 0;
    while (walk.length > 0 && n++ < MAX_OPEN_AT_ONCE) {
      const next = walk.pop()!;
      set.add(tree.key[next]!);
      walk.push(...childrenOf(tree, next).filter((child) => tree.childCount[child]! > 0));
    }
  });

  const onKey = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const node = rows[activeIndex];
    if (node === undefined) return;
    const hasChildren = tree.childCount[node]! > 0;
    const isOpen = opened.has(tree.key[node]!) || (found !== null && (found.within[node]! & 1) !== 0);
    const page = Math.max(1, Math.floor(view.height / ROW) - 2);
    switch (event.key) {
      case 'ArrowDown': activate(activeIndex + 1); break;
      case 'ArrowUp': activate(activeIndex - 1); break;
      case 'PageDown': activate(activeIndex + page); break;
      case 'PageUp': activate(activeIndex - page); break;
      case 'Home': activate(0); break;
      case 'End': activate(rows.length - 1); break;
      case 'ArrowRight':
        if (hasChildren && !isOpen) toggle(node);
        else if (hasChildren) activate(activeIndex + 1);
        break;
      case 'ArrowLeft':
        if (hasChildren && opened.has(tree.key[node]!)) toggle(node);
        else if (tree.parent[node]! >= 0) activate(rows.indexOf(tree.parent[node]!));
        break;
      case 'Enter': case ' ': if (hasChildren) toggle(node); break;
      case '*': openBelow(node); break;
      case 'f': props.onFlame?.(node); break;
      default: return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  const first = Math.max(0, Math.floor(view.top / ROW) - OVERSCAN);
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / ROW) + OVERSCAN);
  const activeNode = rows[activeIndex];
  const activeDrawn = activeIndex >= first && activeIndex < last && activeNode !== undefined;
  return (
    <div class={`treegrid ${props.compact ?? (tree.hasBase ? 'diff' : '')}`} ref={scroller} role="treegrid" tabIndex={0} aria-label={props.label} aria-rowcount={rows.length + 1} aria-readonly="true"
      {...(activeDrawn ? {'aria-activedescendant': `${prefix}-${activeNode}`} : {})} onKeyDown={onKey}>
      <Head diff={tree.hasBase} measure={props.measure} compact={props.compact} />
      <div class="rows" role="rowgroup" style={{height: `${rows.length * ROW}px`}}>
        {Array.from(rows.subarray(first, last), (node, i) => (
          <Row {...props} key={node} prefix={prefix} node={node} index={first + i} hit={found?.hit[node] === 1} active={first + i === activeIndex}
            open={opened.has(tree.key[node]!) || (found !== null && (found.within[node]! & 1) !== 0)}
            onToggle={toggle} onActivate={() => activate(first + i)} />
        ))}
      </div>
    </div>
  );
}
