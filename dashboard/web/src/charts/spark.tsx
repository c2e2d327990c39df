// A sparkline: shape only, no axes. What it says is said in words beside it or in its label.
import type {Point} from '../api/types';

interface Props {
  points: Point[];
  label?: string;
  area?: boolean;
  bad?: boolean;
  from?: number;
  to?: number;
}

const WIDTH = 100;
const HEIGHT = 30;
const MAX_POINTS = 160;

/* Keeps the highest value of each bucket: spikes are what one looks for. */
function thin(points: Point[]): Point[] {
  if (points.length <= MAX_POINTS) return points;
  const size = Math.ceil(points.length / MAX_POINTS);
  const out: Point[] = [];
  for (let i = 0; i < points.length; i += size) {
    out.push(points.slice(i, i + size).reduce((best, point) => point[1] > best[1] ? point : best));
  }
  return out;
}

export function Spark({points, label, area = true, bad = false, from, to}: Props) {
  const kept = thin(points.filter((point) => Number.isFinite(point[1])));
  if (kept.length < 2) return <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true" />;
  const start = from ?? kept[0]![0];
  const end = to ?? kept[kept.length - 1]![0];
  const top = Math.max(...kept.map((point) => point[1])) || 1;
  const spots = kept.map(([t, v]) => `${((t - start) / (end - start || 1) * WIDTH).toFixed(1)},${(HEIGHT - 1 - Math.max(0, v) / top * (HEIGHT - 3)).toFixed(1)}`);
  const line = 'M' + spots.join('L');
  const x = (i: number): string => spots[i]!.split(',')[0]!;
  return (
    <svg class={'spark' + (bad ? ' bad' : '')} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none"
      {...(label ? {'role': 'img', 'aria-label': label} : {'aria-hidden': 'true'})}>
      {area && <path class="area" d={`${line}L${x(spots.length - 1)},${HEIGHT}L${x(0)},${HEIGHT}Z`} />}
      <path class="line" d={line} />
    </svg>
  );
}
