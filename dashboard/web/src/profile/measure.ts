// What the numbers of a profile mean: how its unit is written, as an amount and as a rate, and what a diff compares.
import type {ProfileTree} from '../api/types';
import {bytes, count, inUnit, nanoseconds, percent} from '../app/format';

export const TYPE_TITLES: Record<string, string> = {
  cpu: 'CPU hot spots',
  heap: 'Memory in use',
  lock: 'Lock waits',
  network: 'Network waits',
  system: 'System waits',
  channel: 'Channel waits',
  lua: 'Lua hot spots',
};

export function typeTitle(type: string): string {
  return TYPE_TITLES[type] ?? type;
}

/** The history chart's figure, said in words. */
export function typeFigure(type: string, unit: string): string {
  if (type === 'cpu') return 'Share of available cores';
  if (type === 'heap') return 'Bytes in use';
  if (unit === 'ns') return 'Waiting time';
  return 'Total';
}

/** The unit of a history point's `value`. */
export function valueUnit(type: string, unit: string): string {
  return type === 'cpu' ? 'ratio' : unit;
}

export interface Measure {
  rateTitle: string; // heads the column of `rate`
  rateHelp: string;
  rate: (value: number) => string;
  amount: (value: number) => string;
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
    absolute: windowsMatch,
    baseScale: before === undefined || windowsMatch || before.total <= 0 ? 1 : answer.total / before.total,
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
  if (answer.unit === 'ns') {
    return {
      ...comparable, rateTitle: 'Per second', rateHelp: 'waiting time per second',
      rate: (value) => inUnit(wallNs > 0 ? value / (answer.duration_ms / 1000) : NaN, 'ns/s'), amount: nanoseconds,
    };
  }
  const write = answer.unit === 'bytes' ? bytes : (value: number): string => inUnit(value, answer.unit);
  return {
    ...comparable, rateTitle: answer.unit === 'bytes' ? 'Bytes' : 'Value', rateHelp: 'average over the profiles shown',
    rate: (value) => write(value / Math.max(1, answer.profiles)), amount: write,
  };
}
