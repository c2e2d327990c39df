// Things of this page as files: made here, saved by the browser, sent to nobody.
import type {Line} from '../charts/series';
import {join} from '../charts/series';

export function save(name: string, parts: Blob | string, type = 'text/plain'): void {
  const url = URL.createObjectURL(typeof parts === 'string' ? new Blob([parts], {type}) : parts);
  const link = document.createElement('a');
  link.href = url;
  link.download = name.replace(/[^\w.@-]+/g, '_').slice(0, 120);
  document.body.append(link);
  link.click();
  link.remove();
  window.setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/* A spreadsheet takes what begins with = + - @ for a formula: names come from other people's programs. */
function cell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

/** What a chart shows, as comma-separated values. */
export function csvOf(lines: Line[]): string {
  const [times, ...columns] = join(lines);
  const rows = [['time', 'time_ms', ...lines.map((line) => cell(line.label))].join(',')];
  times.forEach((t, i) => {
    const values = columns.map((column) => column[i]);
    if (values.every((value) => value === null || value === undefined)) return;
    rows.push([new Date(t).toISOString(), t, ...values.map((value) => value ?? '')].join(','));
  });
  return rows.join('\r\n') + '\r\n';
}
