// A time chart over uPlot, in the page's colours. Dragging chooses a time range, clicking picks a point, marks (deploys) are
// vertical lines. Beside each chart the page offers the same numbers as a table.
import {useEffect, useRef} from 'preact/hooks';
import uPlot from 'uplot';
import {time, utc} from '../app/format';
import {dark, token} from '../app/theme';
import {zone} from '../app/zone';
import {join, type Line} from './series';

export interface Mark {
  t: number;
  text: string;
}

interface Props {
  label: string;
  lines: Line[];
  format: (value: number) => string;
  from: number;
  to: number;
  height?: number;
  marks?: Mark[];
  sync?: string;
  zeroBased?: boolean;
  /** Bytes: the axis steps by powers of two. */
  binary?: boolean;
  /** A span was dragged; `shift` was held when it began. */
  onDrag?: (from: number, to: number, shift: boolean) => void;
  /** A point was clicked: which line and which of its points in time. */
  onPick?: (line: number, t: number) => void;
  selected?: {from: number; to: number} | null;
  compared?: {from: number; to: number} | null;
}

const BINARY_STEPS = Array.from({length: 52}, (_, i) => 2 ** i);

/* What drawing code reads; kept out of the plot so that it need not be rebuilt when it changes. */
interface Live {
  props: Props;
  shift: boolean;
  dragged: boolean;
}

function band(plot: uPlot, span: {from: number; to: number}, color: string): void {
  const left = plot.valToPos(span.from, 'x', true);
  const right = plot.valToPos(span.to, 'x', true);
  const {ctx, bbox} = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.fillStyle = color;
  ctx.globalAlpha = 0.16;
  ctx.fillRect(left, bbox.top, Math.max(2, right - left), bbox.height);
  ctx.globalAlpha = 1;
  ctx.fillRect(left, bbox.top, 1.5, bbox.height);
  if (right - left > 3) ctx.fillRect(right - 1.5, bbox.top, 1.5, bbox.height);
  ctx.restore();
}

function drawMarks(plot: uPlot, marks: Mark[]): void {
  const {ctx, bbox} = plot;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = token('mark');
  const font = `${10 * devicePixelRatio}px ${token('sans')}`;
  ctx.font = font;
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.textAlign = 'left';
  ctx.textBaseline = 'alphabetic';
  let free = -Infinity;
  for (const mark of marks) {
    const x = plot.valToPos(mark.t, 'x', true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const text = mark.text.length > 28 ? mark.text.slice(0, 27) + '…' : mark.text;
    const width = ctx.measureText(text).width;
    const gap = 4 * devicePixelRatio;
    const left = x + gap + width > bbox.left + bbox.width ? x - gap - width : x + gap;
    if (left < free) continue;
    ctx.setLineDash([]);
    ctx.lineWidth = 4 * devicePixelRatio; // a halo: lines of the chart pass behind the text
    ctx.strokeStyle = token('surface');
    ctx.strokeText(text, left, bbox.top + 10 * devicePixelRatio);
    ctx.fillText(text, left, bbox.top + 10 * devicePixelRatio);
    ctx.restore();
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = token('mark');
    ctx.font = font;
    ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
    free = left + width + 8 * devicePixelRatio;
  }
  ctx.restore();
}

const FEW_POINTS = 24;

/* One point makes no line: few points are drawn as points. */
function showsDots(line: Line): boolean {
  return line.dots ?? line.points.length < FEW_POINTS;
}

function axisTime(plot: uPlot, splits: number[]): string[] {
  const span = (plot.scales['x']?.max ?? 0) - (plot.scales['x']?.min ?? 0);
  let day = '';
  return splits.map((t) => {
    const date = new Date(t);
    const today = date.toLocaleDateString(undefined, {month: 'short', day: 'numeric', timeZone: zone.value});
    const clock = date.toLocaleTimeString(undefined, {hour: '2-digit', minute: '2-digit', hour12: false, timeZone: zone.value, ...(span < 300_000 ? {second: '2-digit'} : {})});
    const newDay = today !== day && span > 12 * 3_600_000;
    day = today;
    if (span > 3 * 86_400_000) return newDay ? today : clock;
    return newDay ? `${today} ${clock}` : clock;
  });
}

function tooltip(live: Live, tip: HTMLElement): (plot: uPlot) => void {
  return (plot) => {
    const {idx, left, top} = plot.cursor;
    const props = live.props;
    if (idx === null || idx === undefined || left === undefined || left < 0) {
      tip.hidden = true;
      return;
    }
    const t = plot.data[0][idx]!;
    tip.replaceChildren();
    const head = document.createElement('div');
    head.textContent = time(t);
    head.title = utc(t);
    head.className = 'muted';
    tip.append(head);
    let shown = 0;
    props.lines.forEach((line, i) => {
      const value = plot.data[i + 1]?.[idx];
      if (value === null || value === undefined || shown >= 10) return;
      shown++;
      const row = document.createElement('div');
      const swatch = document.createElement('i');
      swatch.style.background = token(line.color);
      row.append(swatch, `${props.format(value)}${props.lines.length > 1 ? '  ' + line.label : ''}`);
      tip.append(row);
    });
    const mark = props.marks?.find((m) => Math.abs(plot.valToPos(m.t, 'x') - left) < 5);
    if (mark) {
      const row = document.createElement('div');
      row.textContent = mark.text;
      tip.append(row);
    }
    tip.hidden = shown === 0 && !mark;
    const x = plot.over.offsetLeft + left;
    const flip = x > plot.width / 2;
    tip.style.left = flip ? 'auto' : `${x + 14}px`;
    tip.style.right = flip ? `${plot.width - x + 14}px` : 'auto';
    tip.style.top = `${Math.max(0, (top ?? 0) - 10)}px`;
  };
}

/* Nothing but zeros: an axis of made-up steps would say that there was something. */
function isFlat(lines: Line[]): boolean {
  return lines.every((line) => line.points.every((point) => !point[1]));
}

function options(live: Live, tip: HTMLElement, width: number): uPlot.Options {
  const {props} = live;
  const axis = {
    stroke: token('chart-axis'), font: `11px ${token('sans')}`,
    grid: {stroke: token('chart-grid'), width: 1}, ticks: {show: false},
  };
  return {
    width, height: props.height ?? 150, ms: 1, ...(zone.value ? {tzDate: (t: number) => uPlot.tzDate(new Date(t), 'Etc/UTC')} : {}), legend: {show: false}, padding: [10, 10, 0, 0],
    cursor: {
      y: false, drag: {x: true, y: false, setScale: false, dist: 4}, focus: {prox: 24},
      points: {size: 6}, ...(props.sync ? {sync: {key: props.sync, setSeries: false}} : {}),
    },
    scales: {
      x: {time: true, range: () => [live.props.from, live.props.to]},
      y: {range: (_plot, low, high) => {
        const top = high > 0 ? high * 1.12 : 1;
        return props.zeroBased === false && low > 0 ? [low - (high - low || low) * 0.1, high + (high - low || high) * 0.1] : [Math.min(0, low), top];
      }},
    },
    axes: [
      {...axis, grid: {show: false}, space: 88, size: 24, values: axisTime},
      {...axis, size: 64, space: 32, ...(props.binary ? {incrs: BINARY_STEPS} : {}), values: (_plot, splits) => splits.map((v) => v !== 0 && isFlat(live.props.lines) ? '' : live.props.format(v))},
    ],
    series: [{}, ...props.lines.map((line): uPlot.Series => ({
      label: line.label,
      ...(line.stroke === false ? {paths: () => null} : {}),
      stroke: token(line.color), width: 1.5,
      ...(line.fill ? {fill: token('chart-fill')} : {}),
      ...(line.dash ? {dash: line.dash} : {}),
      points: {show: showsDots(line), size: 5, width: 1, fill: token(line.color), stroke: token('surface')},
    }))],
    hooks: {
      setCursor: [tooltip(live, tip)],
      drawClear: [(plot) => {
        if (live.props.compared) band(plot, live.props.compared, token('chart-2'));
        if (live.props.selected) band(plot, live.props.selected, token('chart-1'));
      }],
      draw: [(plot) => drawMarks(plot, live.props.marks ?? [])],
      setSelect: [(plot) => {
        const {left, width: span} = plot.select;
        if (span < 4) return;
        live.dragged = true;
        const from = plot.posToVal(left, 'x');
        const to = plot.posToVal(left + span, 'x');
        plot.setSelect({left: 0, top: 0, width: 0, height: 0}, false);
        live.props.onDrag?.(from, to, live.shift);
      }],
    },
  };
}

/* The point nearest to the pointer, in pixels, over all lines. */
function pick(plot: uPlot, left: number, top: number): {line: number; t: number} | null {
  let best: {line: number; t: number} | null = null;
  let bestDistance = Infinity;
  const times = plot.data[0];
  for (let line = 1; line < plot.data.length; line++) {
    const column = plot.data[line]!;
    for (let i = 0; i < times.length; i++) {
      const value = column[i];
      if (value === null || value === undefined) continue;
      const dx = plot.valToPos(times[i]!, 'x') - left;
      if (Math.abs(dx) > bestDistance) continue;
      const distance = Math.hypot(dx, (plot.valToPos(value, 'y') - top) * 0.5);
      if (distance < bestDistance) {
        bestDistance = distance;
        best = {line: line - 1, t: times[i]!};
      }
    }
  }
  return best;
}

function listen(plot: uPlot, live: Live): void {
  plot.over.addEventListener('mousedown', (event) => {
    live.shift = event.shiftKey;
    live.dragged = false;
  });
  plot.over.addEventListener('click', (event) => {
    if (live.dragged || !live.props.onPick) return;
    const box = plot.over.getBoundingClientRect();
    const found = pick(plot, event.clientX - box.left, event.clientY - box.top);
    if (found) live.props.onPick(found.line, found.t);
  });
}

export function Chart(props: Props) {
  const host = useRef<HTMLDivElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const live = useRef<Live>({props, shift: false, dragged: false});
  const plot = useRef<uPlot | null>(null);
  live.current.props = props;
  const shape = props.lines.map((line) => [line.label, line.color, line.fill, showsDots(line), line.stroke].join('|')).join(';');
  const structure = `${shape}/${props.height ?? 150}/${dark.value}/${zone.value ?? ''}/${props.sync ?? ''}`;

  useEffect(() => {
    const element = host.current!;
    const made = new uPlot(options(live.current, tip.current!, element.clientWidth || 300), join(live.current.props.lines), element);
    plot.current = made;
    listen(made, live.current);
    const observer = new ResizeObserver(() => {
      const width = element.clientWidth;
      if (width > 0 && width !== made.width) made.setSize({width, height: live.current.props.height ?? 150});
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [structure]);

  useEffect(() => {
    plot.current?.setData(join(props.lines));
  }, [props.lines, props.from, props.to]);
  useEffect(() => {
    plot.current?.redraw(false);
  }, [props.selected?.from, props.selected?.to, props.compared?.from, props.compared?.to, props.marks]);

  return (
    <div class="chart" role="img" aria-label={props.label}>
      <div ref={host} />
      <div ref={tip} class="chart-tip" hidden />
    </div>
  );
}
