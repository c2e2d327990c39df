// A chart with its heading, legend and the same numbers as a table. Dragging zooms the page's time range.
import type {ComponentChildren} from 'preact';
import {useState} from 'preact/hooks';
import {time, utc} from '../app/format';
import {chooseAbsolute, range} from '../app/time';
import {Chart, type Mark} from '../charts/chart';
import {join, type Line} from '../charts/series';
import {save, csvOf} from '../profile/saving';
import {Icon} from './icon';
import {Panel} from './basics';

const MAX_ROWS = 240;

interface Props {
  title: ComponentChildren;
  /** The latest value, in words. */
  latest?: string;
  label: string;
  lines: Line[];
  format: (value: number) => string;
  height?: number;
  marks?: Mark[];
  sync?: string;
  binary?: boolean;
  note?: ComponentChildren;
  empty?: string;
}

export function LineTable({lines, format, label}: {lines: Line[]; format: (value: number) => string; label: string}) {
  const [times, ...columns] = join(lines);
  const rows = times.map((t, i) => ({t, values: columns.map((column) => column[i])}))
    .filter((row) => row.values.some((value) => value !== null && value !== undefined)).reverse();
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label={label}>
      <table class="data">
        <thead><tr><th scope="col">Time</th>{lines.map((line, i) => <th scope="col" class="num" key={i}>{line.label}</th>)}</tr></thead>
        <tbody>
          {rows.slice(0, MAX_ROWS).map((row) => (
            <tr key={row.t}><td title={utc(row.t)} class="nowrap">{time(row.t)}</td>{row.values.map((value, i) => <td class="num" key={i}>{value === null || value === undefined ? '' : format(value)}</td>)}</tr>
          ))}
        </tbody>
      </table>
      {rows.length > MAX_ROWS && <p class="muted small">The latest {MAX_ROWS} of {rows.length} rows.</p>}
    </div>
  );
}

export function Legend({lines}: {lines: Line[]}) {
  return <div class="legend">{lines.map((line, i) => <span key={i} title={line.label}><i class={`swatch ${line.color.replace('chart-', 'c')}`} /><span class="cut">{line.label}</span></span>)}</div>;
}

export function ChartPanel({title, latest, label, lines, format, height, marks, sync, binary, note, empty}: Props) {
  const [table, setTable] = useState(false);
  const r = range.value;
  const any = lines.some((line) => line.points.length > 0);
  return (
    <Panel title={title} actions={<>
      {latest !== undefined && <b class="latest" title="The latest">{latest}</b>}
      {any && <button type="button" class="button quiet icon wide-only" aria-label={`${label}: download as CSV`} title="Download as CSV" onClick={() => save(`${label}.csv`, csvOf(lines), 'text/csv')}><Icon name="download" /></button>}
      <button type="button" class="button quiet icon" aria-pressed={table} aria-label={`${label}: show as table`} title="Show as table" onClick={() => setTable(!table)}><Icon name="table" /></button>
    </>}>
      {!any ? <p class="muted small">{empty ?? 'No data in this time range.'}</p>
        : table ? <LineTable lines={lines} format={format} label={label} />
          : <Chart label={label} lines={lines} format={format} from={r.from} to={r.to} onDrag={chooseAbsolute}
            {...(height ? {height} : {})} {...(marks ? {marks} : {})} {...(sync ? {sync} : {})} {...(binary ? {binary} : {})} />}
      {any && !table && lines.length > 1 && <Legend lines={lines} />}
      {note}
    </Panel>
  );
}
