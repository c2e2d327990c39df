// The text of a source file with what each of its lines cost, when somebody gave the sources: uploaded, or in a directory of the
// server. Lines without cost are shown too; long stretches of them fold.
import {useMemo, useState} from 'preact/hooks';
import type {SourceText} from '../api/types';
import {count, percent, plural} from '../app/format';
import {type Query} from '../api/client';
import {useData} from '../app/resource';
import {Failure} from '../components/basics';
import type {Measure} from './measure';

const AROUND = 8;

/* The lines to show: those that cost something or were asked for, with some around them. */
function shownLines(text: SourceText, line: number, all: boolean): number[] {
  const wanted = new Uint8Array(text.lines.length + 1);
  for (const at of [line, ...text.values.map((v) => v[0])]) {
    for (let i = Math.max(1, at - AROUND); i <= Math.min(text.lines.length, at + AROUND); i++) wanted[i] = 1;
  }
  const out: number[] = [];
  for (let i = 1; i <= text.lines.length; i++) if (all || wanted[i]) out.push(i);
  return out;
}

function Gap({count: lines}: {count: number}) {
  return <tr class="gap"><td colSpan={4}>⋯ {plural(lines, 'line')} without cost</td></tr>;
}

export function SourceView({query, file, line, total, measure, onClose}: {query: Query; file: string; line: number; total: number; measure: Measure; onClose: () => void}) {
  const of = useData<SourceText>('/profiles/source', {...query, file}, `source ${file} ${JSON.stringify(query)}`);
  const [all, setAll] = useState(false);
  const cost = useMemo(() => new Map((of.data?.values ?? []).map((v) => [v[0], v])), [of.data]);
  const lines = useMemo(() => of.data ? shownLines(of.data, line, all) : [], [of.data, line, all]);
  const whole = total || 1;
  return (
    <section class="source" aria-label={`Source of ${file}`}>
      <header class="row"><h3 class="mono grow cut">{of.data?.path || file}</h3>
        {of.data && <span class="muted small">{percent(of.data.self / whole)} in its own lines{of.data.origin === 'upload' && of.data.version ? `, as of ${of.data.version}` : ''}</span>}
        {of.data && lines.length < of.data.lines.length && <button type="button" class="button" onClick={() => setAll(true)}>All {count(of.data.lines.length)} lines</button>}
        <button type="button" class="button" onClick={onClose}>Close</button></header>
      {of.loading && !of.data && <div class="skeleton" role="status" aria-label="Loading the source" />}
      {of.error && (of.error.code === 'no_source'
        ? <div class="empty"><h2>This file is not here</h2><p>Give the dashboard the sources: start it with <code>--sources DIR</code>, or send each file once at build time:</p>
          <pre class="tag-block">{'curl -H "Authorization: Bearer $SI_AGENT_KEY" --data-binary @src/main.c \\\n  "https://…/api/v1/source-files?version=1.4&path=src/main.c"'}</pre></div>
        : <Failure error={of.error} retry={of.reload} />)}
      {of.data && <div class="source-lines" tabIndex={0} role="region" aria-label="Lines">
        <table><thead class="sr"><tr><th scope="col">Line</th><th scope="col">Self</th><th scope="col">Total</th><th scope="col">Text</th></tr></thead><tbody>
          {(lines[0] ?? 1) > 1 && <Gap count={lines[0]! - 1} />}
          {lines.map((n, i) => {
            const v = cost.get(n);
            return <>
              {i > 0 && lines[i - 1] !== n - 1 && <Gap key={`gap${n}`} count={n - lines[i - 1]! - 1} />}
              <tr key={n} class={(n === line ? 'here' : '') + (v ? ' hot' : '')}>
                <th scope="row">{n}</th>
                <td class="num" title={v ? measure.amount(v[1]) : ''}>{v && v[1] ? percent(v[1] / whole) : ''}</td>
                <td class="num bar" title={v ? measure.amount(v[2]) : ''}>{v ? <><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect width={Math.min(100, v[2] / whole * 100)} height="10" /></svg>{percent(v[2] / whole)}</> : ''}</td>
                <td><pre>{of.data!.lines[n - 1]}</pre></td>
              </tr>
            </>;
          })}
          {(lines[lines.length - 1] ?? 0) < of.data.lines.length && <Gap count={of.data.lines.length - (lines[lines.length - 1] ?? 0)} />}
        </tbody></table>
      </div>}
    </section>
  );
}
