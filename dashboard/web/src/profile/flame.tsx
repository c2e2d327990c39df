// The flame graph: root on top, callees below. Click or Enter zooms (the address remembers), the wheel with Ctrl zooms freely,
// arrow keys walk the graph, and what is active is said in words below it.
import {useEffect, useMemo, useRef, useState} from 'preact/hooks';
import {change, count, percent} from '../app/format';
import {dark} from '../app/theme';
import {type CallTree, childrenOf, findKey, frameOf, nameOf, pathOf, search} from './call_tree';
import {describe, FLAME_ROW, FlameCanvas} from './flame_canvas';
import {layoutFlame} from './flame_layout';
import type {Measure} from './measure';
import {KINDS, place} from './names';

const MAX_HEIGHT = 30 * FLAME_ROW;

interface Props {
  tree: CallTree;
  measure: Measure;
  label: string;
  query: string;
  zoom: string; // key of the node that fills the width, base 36
  onZoom: (zoom: string) => void;
  onSelect?: (node: number) => void;
}

export function zoomKey(tree: CallTree, node: number): string {
  return node === 0 ? '' : tree.key[node]!.toString(36);
}

function Facts({tree, measure, node}: {tree: CallTree; measure: Measure; node: number}) {
  const whole = tree.whole || 1;
  const base = tree.base[node]! * measure.baseScale;
  return <>
    <span><b>{percent(tree.total[node]! / whole)}</b> of the profile</span>
    <span>self {percent(tree.self[node]! / whole)}</span>
    <span>{measure.rate(tree.total[node]!)} {measure.rateTitle === 'Of cores' ? 'of cores' : ''}</span>
    {!measure.own && <span>{measure.amount(tree.total[node]!)}</span>}
    <span>{count(tree.samples[node])} {measure.counted}</span>
    {tree.hasBase && <span>before {percent(base / whole)}, {change(base, tree.total[node]!)}</span>}
  </>;
}

function Legend({tree, measure}: {tree: CallTree; measure: Measure}) {
  if (tree.hasBase) {
    return (
      <div class="legend">
        <span><i class="swatch d-more" />more than before</span><span><i class="swatch d-less" />less</span><span><i class="swatch d-same" />unchanged</span>
        <span class="muted">{measure.absolute ? 'amounts compared' : 'amounts compared, the base scaled to the same time'}</span>
      </div>
    );
  }
  return <div class="legend">{KINDS.map(({kind, label}) => <span key={kind}><i class={`swatch f-${kind}`} />{label}</span>)}</div>;
}

function neighbour(tree: CallTree, node: number, key: string): number {
  const parent = tree.parent[node]!;
  switch (key) {
    case 'ArrowUp': return parent >= 0 ? parent : node;
    case 'ArrowDown': return tree.first[node]! >= 0 ? tree.first[node]! : node;
    case 'ArrowRight': return tree.next[node]! >= 0 ? tree.next[node]! : node;
    case 'ArrowLeft': {
      if (parent < 0) return node;
      const siblings = childrenOf(tree, parent);
      return siblings[Math.max(0, siblings.indexOf(node) - 1)]!;
    }
    default: return -1;
  }
}

export function Flame({tree, measure, label, query, zoom, onZoom, onSelect}: Props) {
  const view = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const drawn = useRef<FlameCanvas | null>(null);
  const tip = useRef<HTMLDivElement>(null);
  const [hover, setHover] = useState(-1);
  const [activeKey, setActiveKey] = useState(0);
  const layout = useMemo(() => layoutFlame(tree), [tree]);
  const found = useMemo(() => query ? search(tree, query) : null, [tree, query]);
  const root = useMemo(() => Math.max(0, zoom ? findKey(tree, parseInt(zoom, 36)) : 0), [tree, zoom]);
  const active = activeKey === 0 ? root : Math.max(0, findKey(tree, activeKey));
  const contentHeight = layout.rows.length * FLAME_ROW;
  const height = Math.max(6 * FLAME_ROW, Math.min(contentHeight, MAX_HEIGHT));
  const moved = useRef(false);

  useEffect(() => {
    const made = new FlameCanvas(canvas.current!);
    drawn.current = made;
    const element = view.current!;
    const fit = (): void => made.resize(element.clientWidth, element.clientHeight);
    fit();
    const observer = new ResizeObserver(fit);
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
    };
  }, []);
  useEffect(() => drawn.current?.resize(view.current!.clientWidth, height), [height]);
  useEffect(() => drawn.current?.setScene({tree, layout, baseScale: measure.baseScale, hit: found?.hit ?? null, hover, active}), [tree, layout, found, hover, active, measure]);
  useEffect(() => drawn.current?.themeChanged(), [dark.value]);
  useEffect(() => {
    drawn.current?.show({from: layout.x[root]!, to: layout.x[root]! + (tree.total[root]! || 1)}, moved.current);
    moved.current = true;
  }, [root, layout]);

  const zoomTo = (node: number): void => {
    setActiveKey(tree.key[node]!);
    onSelect?.(node);
    onZoom(zoomKey(tree, node));
  };
  const scrollBy = (top: number): void => {
    const limit = Math.max(0, contentHeight - height);
    scroll.current = Math.min(limit, Math.max(0, top));
    drawn.current?.scrollTo(scroll.current);
  };
  const scroll = useRef(0);
  const reveal = (node: number): void => {
    const top = tree.depth[node]! * FLAME_ROW;
    if (top < scroll.current) scrollBy(top);
    else if (top + FLAME_ROW > scroll.current + height) scrollBy(top + FLAME_ROW - height);
  };

  const onMove = (event: MouseEvent): void => {
    const box = canvas.current!.getBoundingClientRect();
    const node = drawn.current?.at(event.clientX - box.left, event.clientY - box.top) ?? -1;
    setHover(node);
    if (!tip.current || node < 0) return;
    const x = event.clientX - box.left;
    const y = event.clientY - box.top;
    const flip = x > box.width * 0.6;
    tip.current.style.left = flip ? 'auto' : `${x + 14}px`;
    tip.current.style.right = flip ? `${box.width - x + 14}px` : 'auto';
    tip.current.style.top = `${y + 18}px`;
  };
  const onWheel = (event: WheelEvent): void => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      freeZoom(event.deltaY < 0 ? 0.8 : 1.25, event.clientX - canvas.current!.getBoundingClientRect().left);
      return;
    }
    const before = scroll.current;
    scrollBy(before + event.deltaY);
    if (scroll.current !== before) event.preventDefault();
  };
  const freeZoom = (factor: number, x: number): void => {
    const flame = drawn.current!;
    const span = flame.view;
    const whole = tree.total[0]! || 1;
    const at = span.from + x / (view.current!.clientWidth || 1) * (span.to - span.from);
    const width = Math.min(whole, (span.to - span.from) * factor);
    const from = Math.min(Math.max(0, at - (at - span.from) * (width / (span.to - span.from))), whole - width);
    flame.show({from, to: from + width}, false);
  };
  useEffect(() => {
    const element = view.current!;
    element.addEventListener('wheel', onWheel, {passive: false});
    return () => element.removeEventListener('wheel', onWheel);
  });
  const onKey = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const next = neighbour(tree, active, event.key);
    if (next >= 0) {
      setActiveKey(tree.key[next]!);
      reveal(next);
    } else if (event.key === 'Enter') zoomTo(active);
    else if (event.key === 'Escape' || event.key === 'Home') zoomTo(0);
    else if (event.key === 'Backspace') zoomTo(Math.max(0, tree.parent[root]!));
    else if (event.key === '+' || event.key === '=') freeZoom(0.7, (view.current?.clientWidth ?? 0) / 2);
    else if (event.key === '-') freeZoom(1 / 0.7, (view.current?.clientWidth ?? 0) / 2);
    else if (event.key === ' ') onSelect?.(active);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const shown = hover >= 0 ? hover : active;
  const frame = frameOf(tree, shown);
  return (
    <div class="flame">
      <nav class="crumbs" aria-label="Zoomed into">
        {pathOf(tree, root).map((node, i, all) => (
          <span key={node}>{i > 0 && <span class="muted">›</span>}<button type="button" title={describe(tree, node)} onClick={() => zoomTo(node)} {...(i === all.length - 1 ? {'aria-current': 'true'} : {})}>{nameOf(tree, node)}</button></span>
        ))}
      </nav>
      <div class="view" ref={view} tabIndex={0} role="application" aria-roledescription="flame graph" aria-label={`${label}. Arrow keys walk, Enter zooms, Escape shows all. The tree view has the same data.`} aria-describedby="flame-active"
        onMouseMove={onMove} onMouseLeave={() => setHover(-1)} onKeyDown={onKey} onClick={() => { if (hover >= 0) zoomTo(hover === root && root > 0 ? Math.max(0, tree.parent[root]!) : hover); }}>
        <canvas ref={canvas} aria-hidden="true" />
        {hover >= 0 && (
          <div class="flame-tip" ref={tip}>
            <div class="fn">{describe(tree, hover)}</div>
            <div class="muted">{place(frameOf(tree, hover))}</div>
            <div class="row"><Facts tree={tree} measure={measure} node={hover} /></div>
          </div>
        )}
      </div>
      <div class="flame-status">
        <span class="mono cut" id="flame-active" aria-live="polite">{nameOf(tree, shown)}</span>
        <span class="muted">{place(frame)}</span>
        <Facts tree={tree} measure={measure} node={shown} />
      </div>
      <div class="flame-status"><Legend tree={tree} measure={measure} /></div>
    </div>
  );
}
