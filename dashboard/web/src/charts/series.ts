// Lines of different sources share no clock: this joins them on one time axis. `undefined` joins a line over times of others,
// null cuts it where its own reports stopped.

export interface Line {
  label: string;
  color: string; // token
  points: (readonly [number, number | null])[];
  fill?: boolean;
  dots?: boolean;
  dash?: number[];
  stroke?: boolean; // false: dots only
}

export type Column = (number | null | undefined)[];

const MIN_GAP_MS = 150_000;

function usualStep(points: Line['points']): number {
  if (points.length < 3) return Infinity;
  const steps: number[] = [];
  for (let i = 1; i < points.length; i++) steps.push(points[i]![0] - points[i - 1]![0]);
  steps.sort((a, b) => a - b);
  return steps[steps.length >> 1]!;
}

/* A line with an explicit hole wherever more than three usual steps are missing. */
function withGaps(points: Line['points']): Line['points'] {
  const gap = Math.max(MIN_GAP_MS, 3.5 * usualStep(points));
  const out: (readonly [number, number | null])[] = [];
  points.forEach((point, i) => {
    const before = points[i - 1];
    if (before && point[0] - before[0] > gap) out.push([before[0] + 1, null]);
    out.push(point);
  });
  return out;
}

export function join(lines: Line[]): [number[], ...Column[]] {
  const broken = lines.map((line) => withGaps(line.points));
  const times = [...new Set(broken.flatMap((points) => points.map((point) => point[0])))].sort((a, b) => a - b);
  const place = new Map(times.map((t, i) => [t, i]));
  const columns = broken.map((points) => {
    const column: Column = new Array<number | null | undefined>(times.length).fill(undefined);
    for (const [t, v] of points) column[place.get(t)!] = v;
    return column;
  });
  return [times, ...columns];
}
