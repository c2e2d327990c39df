// The time range of a page: `range=1h` follows the clock, `from=&to=` (Unix ms) stands still. `now` moves when live refresh ticks.
import {computed, effect, signal} from '@preact/signals';
import {DEFAULT_RANGE, type Range, rangeOf, RANGES} from './ranges';
import {params, setParams} from './router';
import {zone} from './zone';

export {RANGES, type Range};

/** The range that data which begins at `first` fills best: an application's first minutes are not a speck at the edge of an hour. */
export function rangeFor(first: number | undefined): string {
  const age = first === undefined ? Infinity : Date.now() - first;
  const fitting = RANGES.find((r) => r.ms >= age)?.id;
  return fitting === '5m' || fitting === '15m' ? fitting : '';
}

const LIVE_INTERVAL_MS = 10_000;

export const now = signal(window.siEarly?.now ?? Date.now());
export const paused = signal(false);

export const range = computed<Range>(() => rangeOf(params.value, now.value));

/** Data refreshes by itself: the range follows the clock, nobody paused it, and somebody looks. */
export const live = computed(() => range.value.relative !== '' && !paused.value);

export function chooseRelative(id: string): void {
  now.value = Date.now();
  setParams({range: id === DEFAULT_RANGE ? null : id, from: null, to: null});
}

export function chooseAbsolute(from: number, to: number): void {
  setParams({range: null, from: Math.round(from), to: Math.round(to)});
}

export function rangeLabel(): string {
  const r = range.value;
  const known = RANGES.find((x) => x.id === r.relative);
  if (known) return 'Last ' + known.label;
  return `${formatShort(r.from)} – ${formatShort(r.to)}`;
}

function formatShort(ms: number): string {
  return new Date(ms).toLocaleString(undefined, {month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', hour12: false, timeZone: zone.value});
}

export function refreshNow(): void {
  now.value = Date.now();
}

export function startClock(): void {
  effect(() => {
    if (!live.value) return undefined;
    const timer = window.setInterval(() => {
      if (document.visibilityState === 'visible') now.value = Date.now();
    }, LIVE_INTERVAL_MS);
    return () => window.clearInterval(timer);
  });
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible' && live.value) now.value = Date.now();
  });
}
