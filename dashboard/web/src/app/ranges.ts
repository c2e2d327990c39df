// Time ranges as the address names them: `range=1h` ends at the given moment, `from=&to=` (Unix ms) stand still.
export const RANGES: {id: string; label: string; ms: number}[] = [
  {id: '5m', label: '5 minutes', ms: 5 * 60_000},
  {id: '15m', label: '15 minutes', ms: 15 * 60_000},
  {id: '1h', label: '1 hour', ms: 3_600_000},
  {id: '6h', label: '6 hours', ms: 6 * 3_600_000},
  {id: '24h', label: '24 hours', ms: 24 * 3_600_000},
  {id: '7d', label: '7 days', ms: 7 * 24 * 3_600_000},
  {id: '30d', label: '30 days', ms: 30 * 24 * 3_600_000},
];
export const DEFAULT_RANGE = '1h';

export interface Range {
  from: number;
  to: number;
  relative: string; // id in RANGES, or '' when it stands still
}

export function rangeOf(params: URLSearchParams, now: number): Range {
  const from = Number(params.get('from'));
  const to = Number(params.get('to'));
  if (from > 0 && to > from) return {from, to, relative: ''};
  const id = params.get('range');
  const known = RANGES.find((r) => r.id === id) ?? RANGES.find((r) => r.id === DEFAULT_RANGE)!;
  return {from: now - known.ms, to: now, relative: known.id};
}
