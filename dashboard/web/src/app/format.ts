// Units that people read: 1.2 GiB, 340 ms/s, 31.4 %. Numbers below the resolution of a unit are not rounded to nothing.

import {zone} from './zone';

export const DASH = '–';

/* Thousands apart, by a thin space that does not break. */
function grouped(whole: number): string {
  return whole.toLocaleString('en').replace(/,/g, '\u202f');
}

function digits(value: number): string {
  const size = Math.abs(value);
  if (size >= 100) return grouped(Math.round(value));
  if (size >= 10) return value.toFixed(1).replace(/\.0$/, '');
  return value.toFixed(2).replace(/\.?0+$/, '');
}

export function count(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  if (Math.abs(value) >= 1e9) return digits(value / 1e9) + ' G';
  if (Math.abs(value) >= 1e6) return digits(value / 1e6) + ' M';
  if (Math.abs(value) >= 1e5) return digits(value / 1e3) + ' k';
  if (Number.isInteger(value)) return grouped(value);
  if (Math.abs(value) < 0.005) return value < 0 ? '> -0.01' : '< 0.01';
  return digits(value);
}

export function percent(ratio: number | null | undefined): string {
  if (ratio === null || ratio === undefined || !Number.isFinite(ratio)) return DASH;
  const p = ratio * 100;
  if (p === 0) return '0 %';
  if (Math.abs(p) < 0.01) return p < 0 ? '> -0.01 %' : '< 0.01 %';
  if (Math.abs(p) < 1) return p.toFixed(2) + ' %';
  return p.toFixed(Math.abs(p) >= 99.95 ? 0 : 1) + ' %';
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let v = value;
  let i = 0;
  while (Math.abs(v) >= 1024 && i < units.length - 1) {
    v /= 1024;
    i++;
  }
  return `${digits(v)} ${units[i]!}`;
}

export function nanoseconds(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  const size = Math.abs(value);
  if (size === 0) return '0 ms';
  if (size < 1e3) return digits(value) + ' ns';
  if (size < 1e6) return digits(value / 1e3) + ' µs';
  if (size < 1e9) return digits(value / 1e6) + ' ms';
  if (size < 120e9) return digits(value / 1e9) + ' s';
  if (size < 7200e9) return digits(value / 60e9) + ' min';
  if (size < 172800e9) return digits(value / 3600e9) + ' h';
  return digits(value / 86400e9) + ' d';
}

export function milliseconds(value: number | null | undefined): string {
  return nanoseconds(value === null || value === undefined ? value : value * 1e6);
}

/** A value in a unit as the agents name them. */
export function inUnit(value: number | null | undefined, unit: string): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  const rate = /^(.*)\/s$/.exec(unit);
  if (rate) return (rate[1] === '1' ? count(value) : inUnit(value, rate[1]!)) + '/s';
  switch (unit) {
    case '1':
    case 'ratio': return percent(value);
    case '%':
    case 'percent': return percent(value / 100);
    case 'By':
    case 'B':
    case 'byte':
    case 'bytes': return bytes(value);
    case 'ns': return nanoseconds(value);
    case 'us': return nanoseconds(value * 1e3);
    case 'ms': return milliseconds(value);
    case 's': return nanoseconds(value * 1e9);
    case '':
    case 'count': return count(value);
    default: return /^\{.*\}$/.test(unit) ? count(value) : `${count(value)} ${unit}`;
  }
}

/** "+12 %" between two shares or values; "new" and "gone" where a ratio says nothing. */
export function change(before: number, after: number): string {
  if (before <= 0) return after > 0 ? 'new' : 'same';
  if (after <= 0) return 'gone';
  const ratio = after / before;
  if (ratio >= 10) return `×${digits(ratio)}`;
  const p = (ratio - 1) * 100;
  if (Math.abs(p) < 0.5) return 'same';
  return `${p > 0 ? '+' : '−'}${Math.abs(p).toFixed(0)} %`;
}

const clock: Intl.DateTimeFormatOptions = {hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false};

/** In the chosen zone; with the date when it is not today's. */
export function time(ms: number | null | undefined): string {
  if (!ms) return DASH;
  const date = new Date(ms);
  const timeZone = zone.value;
  const day = (d: Date): string => d.toLocaleDateString('en', {timeZone});
  const today = day(new Date()) === day(date);
  return date.toLocaleString(undefined, {...(today ? clock : {month: 'short', day: 'numeric', ...clock}), timeZone});
}

/** For title attributes: the same moment in UTC, exact. */
export function utc(ms: number | null | undefined): string {
  return ms ? new Date(ms).toISOString().replace('T', ' ').replace('Z', ' UTC') : '';
}

export function ago(ms: number | null | undefined, nowMs: number): string {
  if (!ms) return 'never';
  const s = Math.round((nowMs - ms) / 1000);
  if (s < -60) return 'in the future: check the clock';
  if (s < 5) return 'just now';
  if (s < 120) return `${s} s ago`;
  if (s < 7200) return `${Math.round(s / 60)} min ago`;
  if (s < 172800) return `${Math.round(s / 3600)} h ago`;
  return `${Math.round(s / 86400)} d ago`;
}

export function plural(n: number, one: string, many = one + 's'): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}
