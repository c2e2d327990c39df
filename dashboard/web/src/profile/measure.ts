// What the numbers of a profile mean: how its unit is written, as an amount and as a rate, and what a diff compares.
import type {ProfileTree} from '../api/types';
import {count, inUnit, nanoseconds, percent} from '../app/format';

/* The types that agents know, in the order they are shown; others that arrive follow. */
const TYPES: {type: string; title: string; figure: string; value: string; counted: string}[] = [
  {type: 'cpu', title: 'CPU', figure: 'Share of available cores', value: 'Of cores', counted: 'samples'},
  {type: 'heap', title: 'Memory', figure: 'Live heap', value: 'Live', counted: 'objects'},
  {type: 'alloc', title: 'Allocations', figure: 'Bytes allocated', value: 'Per second', counted: 'allocations'},
  {type: 'network', title: 'Network waits', figure: 'Waiting time', value: 'Per second', counted: 'waits'},
  {type: 'system', title: 'System waits', figure: 'Waiting time', value: 'Per second', counted: 'waits'},
  {type: 'lock', title: 'Lock waits', figure: 'Waiting time', value: 'Per second', counted: 'waits'},
  {type: 'channel', title: 'Channel waits', figure: 'Waiting time', value: 'Per second', counted: 'waits'},
];

export const HOT_SPOTS = TYPES.map((t) => t.type);

/* Call trees that belong to a bottleneck's page, not to the hot spots. */
const BOTTLENECK = /^(http_handler|http_client|database|sql|cache|document|call|segment)s?$/;

export function isBottleneck(type: string): boolean {
  return BOTTLENECK.test(type);
}

export function typeTitle(type: string): string {
  return TYPES.find((t) => t.type === type)?.title ?? ({lua: 'Lua', lua_heap: 'Lua memory', wall: 'Wall clock'}[type] ?? type);
}

/** The history chart's figure, said in words. */
export function typeFigure(type: string, unit: string): string {
  const known = TYPES.find((t) => t.type === type);
  if (known) return known.figure;
  return unit === 'ns' ? 'Time' : 'Total';
}

/** The unit of a history point's `value`. */
export function valueUnit(type: string, unit: string): string {
  return type === 'cpu' ? 'ratio' : unit;
}

/** Whether values are of a moment, and so do not add up over time. */
export function isLevel(type: string): boolean {
  return /^(lua_)?heap$/.test(type);
}

/** Waiting times and allocations of one profile are told per second: profiles differ in length. */
export function perSecond(type: string, unit: string): boolean {
  return type !== 'cpu' && !isLevel(type) && (unit === 'ns' || type === 'alloc');
}

export interface Measure {
  rateTitle: string; // heads the column of `rate`
  rateHelp: string;
  rate: (value: number) => string;
  amount: (value: number) => string;
  counted: string; // what `samples` counts
  own?: boolean; // the column of amounts tells the call's own: `rate` tells the total already
  /* base values times this are comparable with the profile's */
  baseScale: number;
  absolute: boolean; // the diff compares amounts, not shares
}

export function measureOf(answer: ProfileTree): Measure {
  const wallNs = answer.duration_ms * 1e6;
  const before = answer.before;
  const windowsMatch = before !== undefined && answer.duration_ms > 0 &&
    Math.abs(before.duration_ms - answer.duration_ms) <= 0.05 * answer.duration_ms;
  const comparable = {
    counted: TYPES.find((t) => t.type === answer.type)?.counted ?? (isBottleneck(answer.type) ? 'calls' : 'samples'),
    absolute: answer.comparison ? answer.comparison.mode === 'absolute' : windowsMatch,
    baseScale: answer.comparison ? answer.comparison.factor : before === undefined || windowsMatch || before.total <= 0 ? 1 : answer.total / before.total,
  };
  if (answer.type === 'cpu') {
    const cores = answer.cores > 0 ? answer.cores : 1;
    return {
      ...comparable,
      rateTitle: 'Of cores',
      rateHelp: `share of ${count(cores)} available cores`,
      rate: (value) => percent(wallNs > 0 ? value / (wallNs * cores) : NaN),
      amount: nanoseconds,
    };
  }
  const seconds = answer.duration_ms / 1000;
  if (answer.unit === 'ns') {
    return {
      ...comparable, rateTitle: 'Per second', rateHelp: 'waiting time per second',
      rate: (value) => inUnit(seconds > 0 ? value / seconds : NaN, 'ns/s'), amount: nanoseconds,
    };
  }
  const write = (value: number): string => inUnit(value, answer.unit);
  if (answer.type === 'alloc') {
    return {...comparable, rateTitle: 'Per second', rateHelp: 'allocated per second', rate: (value) => inUnit(seconds > 0 ? value / seconds : NaN, answer.unit + '/s'), amount: write};
  }
  if (isLevel(answer.type)) {
    /* What is in use at a moment: a merge is the average of its moments, so two of them compare as they are. */
    return {...comparable, absolute: true, baseScale: 1, rateTitle: 'Live', rateHelp: 'in use at one moment; over a range the average', rate: write, amount: write, own: true};
  }
  const profiles = Math.max(1, answer.profiles);
  return {...comparable, rateTitle: 'Value', rateHelp: 'average over the profiles shown', rate: (value) => write(value / profiles), amount: write};
}
