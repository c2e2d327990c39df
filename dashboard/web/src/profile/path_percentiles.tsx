// How long the calls of one call path took, as a cell of the tree: honest about how little a few samples say.
import type {Percentiles} from '../api/types';
import {count, DASH, nanoseconds, percent, plural} from '../app/format';

const NAMES = ['p50', 'p95', 'p99'] as const;
const LEAST = [3, 20, 100] as const; // samples: of fewer, the nearest rank is the longest or the shortest of them

export type Which = 0 | 1 | 2;

/** What the cell's title says. `calls`: so many there were, by the tree's own count. */
export function percentileTitle(of: Percentiles | null | undefined, which: Which, calls: number, whole: boolean): string {
  if (!of) return 'Not known: the agent did not say how long these calls took';
  const [, , , samples, known] = of;
  const parts = [whole ? `${NAMES[which]} of all ${plural(known, 'call')}, counted exactly` : `${NAMES[which]} of about ${plural(known, 'call')}, from ${plural(samples, 'sample')}`];
  if (samples < LEAST[which]) parts.push(`too few: a ${NAMES[which]} takes ${LEAST[which]} samples, this is the ${which === 0 ? 'middle' : 'longest'} of them`);
  if (!whole && known < 0.9 * calls) parts.push(`of ${percent(known / calls)} of the calls: the agent keeps no more durations at a time`);
  return parts.join('; ');
}

export function Percentile({of, which, calls, whole}: {of: Percentiles | null | undefined; which: Which; calls: number; whole: boolean}) {
  const title = percentileTitle(of, which, calls, whole);
  if (!of) return <span class="muted" title={title}>{DASH}</span>;
  const few = of[3] < LEAST[which];
  const text = nanoseconds(of[which]);
  return <span class={few ? 'muted' : ''} title={title}>{few ? <>≈ {text}</> : which === 1 ? <b>{text}</b> : text}</span>;
}

/** How many calls: of the whole exactly, of a path estimated from its samples. */
export function Calls({of, calls, whole}: {of: Percentiles | null | undefined; calls: number; whole: boolean}) {
  const exact = whole && of;
  return <span title={exact ? 'Counted exactly' : 'Estimated from the sampled stacks'}>{count(exact ? of[4] : calls)}</span>;
}
