// Segments, HTTP handlers and calls out: percentiles over time and as a table. /bottlenecks/:kind is the same page for one kind.
import {useMemo, useState} from 'preact/hooks';
import type {Segment} from '../api/types';
import {count, milliseconds, percent} from '../app/format';
import {useData} from '../app/resource';
import {context, hrefWith, param, segments as pathParts, setParams} from '../app/router';
import {range} from '../app/time';
import type {Line} from '../charts/series';
import {Spark} from '../charts/spark';
import {Empty, Loaded, Panel} from '../components/basics';
import {ChartPanel} from '../components/chart_panel';
import {LastReport} from '../components/silence_of_data';
import {SearchField} from '../components/search_field';
import {Page} from '../components/topbar';

const KIND_NAMES: Record<string, string> = {
  segment: 'Segments', http_handler: 'HTTP handlers', http_client: 'HTTP clients', sql: 'SQL', cache: 'Cache', document: 'Documents', call: 'Calls',
};

type Sort = 'p95_ms' | 'p50_ms' | 'p99_ms' | 'max_ms' | 'count' | 'errors' | 'time';

function value(segment: Segment, sort: Sort): number {
  return sort === 'time' ? segment.count * segment.p50_ms : segment[sort];
}

function linesOf(segment: Segment): Line[] {
  return [
    {label: 'p50', color: 'chart-1', points: segment.points.map((p) => [p[0], p[1]] as const)},
    {label: 'p95', color: 'chart-2', points: segment.points.map((p) => [p[0], p[2]] as const)},
    {label: 'p99', color: 'chart-3', points: segment.points.map((p) => [p[0], p[3]] as const)},
  ];
}

function Charts({segment}: {segment: Segment}) {
  const lines = useMemo(() => linesOf(segment), [segment]);
  const counts = useMemo((): Line[] => [{label: 'count', color: 'chart-4', points: segment.points.map((p) => [p[0], p[4]] as const), fill: true}], [segment]);
  return <>
    <ChartPanel title={segment.name} label={`Duration of ${segment.name}`} lines={lines} format={milliseconds} height={190} sync="segments" />
    <ChartPanel title={<>How often <span class="muted small">per report, usually a minute</span></>} label={`Count of ${segment.name}`} lines={counts} format={count} height={90} sync="segments" />
  </>;
}

function Table({list, chosen}: {list: Segment[]; chosen: Segment | undefined}) {
  const [sort, setSort] = useState<Sort>('p95_ms');
  const rows = [...list].sort((a, b) => value(b, sort) - value(a, sort));
  const head = (key: Sort, text: string, title: string, wide = false) => (
    <th scope="col" class={'num' + (wide ? ' wide-only' : '')} title={title} {...(sort === key ? {'aria-sort': 'descending' as const} : {})}><button type="button" onClick={() => setSort(key)}>{text}{sort === key ? ' ↓' : ''}</button></th>
  );
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label="Segments">
      <table class="data">
        <thead><tr><th scope="col">Name</th><th scope="col" class="wide-only">p95 over time</th>{head('p50_ms', 'p50', 'Half of all took at most this', true)}{head('p95_ms', 'p95', '95 % took at most this')}{head('p99_ms', 'p99', '99 % took at most this', true)}{head('max_ms', 'Max', 'The longest', true)}{head('count', 'Count', 'How often in this range', true)}{head('errors', 'Errors', 'Ended with an error')}</tr></thead>
        <tbody>
          {rows.map((s) => (
            <tr key={`${s.kind}\n${s.name}`} class={s === chosen ? 'selected' : ''}>
              <td class="name"><a class="plain" href={hrefWith({name: s.name, kind: s.kind})} {...(s === chosen ? {'aria-current': 'true' as const} : {})}>{s.name}</a></td>
              <td class="wide-only spark-cell"><Spark points={s.points.map((p) => [p[0], p[2]])} /></td>
              <td class="num wide-only">{milliseconds(s.p50_ms)}</td><td class="num">{milliseconds(s.p95_ms)}</td><td class="num wide-only">{milliseconds(s.p99_ms)}</td><td class="num wide-only">{milliseconds(s.max_ms)}</td>
              <td class="num wide-only">{count(s.count)}</td><td class={'num' + (s.errors > 0 ? ' bad' : '')}>{s.errors > 0 ? `${count(s.errors)} (${percent(s.errors / Math.max(1, s.count))})` : '0'}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Segments() {
  const here = context.value!;
  const r = range.value;
  const only = pathParts.value[3] === 'bottlenecks' ? pathParts.value[4] ?? '' : param('kind_filter');
  const of = useData<{segments: Segment[]}>('/segments', {...here, from: r.from, to: r.to, src: param('src')}, `segments ${here.app} ${here.env} ${param('src')}`);
  const q = param('q').toLowerCase();
  return (
    <Page title={only ? KIND_NAMES[only] ?? only : 'Segments'} sourced>
      <Loaded of={of}>{(data) => {
        const kinds = [...new Set(data.segments.map((s) => s.kind))].sort();
        const list = data.segments.filter((s) => (!only || s.kind === only) && s.name.toLowerCase().includes(q));
        const named = list.find((s) => s.name === param('name') && (!param('kind') || s.kind === param('kind')));
        const chosen = named ?? [...list].sort((a, b) => b.p95_ms - a.p95_ms)[0];
        if (data.segments.length === 0) {
          return <Panel><Empty title="No segments in this time range" causes={['The program measures none: wrap code in SI_SEGMENT("name") { … }, or si_segment_start and si_segment_stop.', 'None of them ran in this range.', 'The first report with segments comes after a minute.']}><LastReport /></Empty></Panel>;
        }
        return <>
          <div class="row">
            <div class="segmented" role="group" aria-label="Kind">
              <button type="button" aria-pressed={!only} onClick={() => setParams({kind_filter: null})}>All</button>
              {kinds.map((kind) => <button type="button" key={kind} aria-pressed={only === kind} onClick={() => setParams({kind_filter: kind})}>{KIND_NAMES[kind] ?? kind}</button>)}
            </div>
            <SearchField label="Search segments" />
          </div>
          {chosen && <Charts segment={chosen} />}
          <Panel flush footer="Percentiles are merged from sketches with at most 1 % error; they are never averages of percentiles."><Table list={list} chosen={chosen} /></Panel>
          {list.length === 0 && <p class="muted">No segment matches.</p>}
        </>;
      }}</Loaded>
    </Page>
  );
}
