// Charts of every metric: grouped by what they are about, the important ones first, with titles that people read. The metric's own
// name, which rules use, stands beside it.
import {useMemo} from 'preact/hooks';
import type {Annotation, HealthMetric, Source} from '../api/types';
import {inUnit} from '../app/format';
import {useData} from '../app/resource';
import {context, param} from '../app/router';
import {range} from '../app/time';
import type {Line} from '../charts/series';
import {Empty, Loaded, Panel} from '../components/basics';
import {ChartPanel} from '../components/chart_panel';
import {LastReport} from '../components/silence_of_data';
import {SearchField} from '../components/search_field';
import {Page, sourceName} from '../components/topbar';
import {deployMarks} from './marks';
import type {Mark} from '../charts/chart';

const COLORS = ['chart-1', 'chart-2', 'chart-3', 'chart-4', 'chart-5', 'chart-6'];
const GROUPS: [RegExp, string][] = [[/^process\./, 'Process'], [/^(lua|runtime|c|cpp|heap|malloc)\./, 'Runtime'], [/^container\./, 'Container'], [/^system\./, 'Host'], [/^si\./, 'The agent itself']];
const OWN = 'Of the program';
const ORDER = ['Process', OWN, 'Runtime', 'Container', 'Host', 'The agent itself'];

function groupOf(name: string): string {
  return GROUPS.find(([pattern]) => pattern.test(name))?.[1] ?? OWN;
}

const TOPICS = [/cpu\.utilization$/, /cpu/, /memory\.usage$/, /memory|heap/, /gc/, /disk/, /network/, /thread/, /file_descriptor/, /context_switch/, /paging/];

function rank(name: string): number {
  const at = TOPICS.findIndex((topic) => topic.test(name));
  return at < 0 ? TOPICS.length : at;
}

const WORDS: Record<string, string> = {cpu: 'CPU', io: 'I/O', gc: 'GC', '1m': '1 min', '5m': '5 min', '15m': '15 min', lua: 'Lua', http: 'HTTP', sql: 'SQL', id: 'ID'};

/** `process.open_file_descriptor.count` becomes "Open file descriptor count"; names that the program chose stay as they are. */
export function metricTitle(name: string): string {
  const stalled = /psi\.(\w+)\.(some|full)$/.exec(name);
  if (stalled) return `Waiting for ${WORDS[stalled[1]!] ?? stalled[1]}: ${stalled[2] === 'some' ? 'some tasks' : 'all tasks'}`;
  if (groupOf(name) === OWN) return name;
  const words = name.split('.').slice(1).flatMap((part) => part.split('_')).map((word) => WORDS[word] ?? word);
  const text = (name.startsWith('lua.') ? 'Lua ' : '') + words.join(' ');
  return text ? text[0]!.toUpperCase() + text.slice(1) : name;
}

/** The same where metrics of several groups stand side by side. */
export function metricTitleAlone(name: string): string {
  const title = metricTitle(name);
  const of = /^(container|system)\./.exec(name)?.[1];
  if (!of || title === name) return title;
  return `${of === 'system' ? 'Host' : 'Container'} ${/^(CPU|I\/O|GC)/.test(title) ? title : title[0]!.toLowerCase() + title.slice(1)}`;
}

/** Gauges that a program sets have no unit; of these names one knows it. */
export function metricUnit(name: string, unit: string): string {
  if (unit !== '') return unit;
  return /memory\.(usage|limit)$/.test(name) ? 'By' : /gc\.cpu_fraction$/.test(name) ? '1' : /gc\.pause$/.test(name) ? 's' : unit;
}

interface Metric {
  name: string;
  unit: string;
  lines: Line[];
  sources: number;
}

function metricsOf(metrics: HealthMetric[], sources: Source[]): Metric[] {
  const byName = new Map<string, HealthMetric[]>();
  for (const metric of metrics) byName.set(metric.name, [...byName.get(metric.name) ?? [], metric]);
  return [...byName].map(([name, list]) => ({
    name,
    unit: metricUnit(name, list[0]!.unit),
    sources: list.length,
    lines: list.slice(0, COLORS.length).map((metric, i): Line => {
      const source = sources.find((s) => s.id === metric.source);
      return {label: source ? sourceName(source) : `source ${metric.source}`, color: COLORS[i]!, points: metric.points.map((p) => [p[0], p[1]] as const), fill: list.length === 1};
    }),
  })).sort((a, b) => rank(a.name) - rank(b.name) || a.name.localeCompare(b.name));
}

function One({metric, marks}: {metric: Metric; marks: Mark[]}) {
  const last = metric.lines.length === 1 ? metric.lines[0]!.points[metric.lines[0]!.points.length - 1]?.[1] : undefined;
  return <ChartPanel title={<span title={metric.name}>{metricTitle(metric.name)} {metricTitle(metric.name) !== metric.name && <span class="mono tiny muted">{metric.name}</span>}</span>}
    {...(last !== undefined && last !== null ? {latest: inUnit(last, metric.unit)} : {})} label={metric.name} lines={metric.lines} format={(v) => inUnit(v, metric.unit)} height={120} sync="health" marks={marks} binary={/^(By|B|bytes?)(\/s)?$/.test(metric.unit)}
    {...(metric.sources > metric.lines.length ? {note: <p class="muted small">{metric.lines.length} of {metric.sources} sources; choose one above to see it alone.</p>} : {})} />;
}

export function Health() {
  const here = context.value!;
  const r = range.value;
  const of = useData<{metrics: HealthMetric[]}>('/health', {...here, from: r.from, to: r.to, src: param('src')}, `health ${here.app} ${here.env} ${param('src')}`);
  const sources = useData<{sources: Source[]}>('/sources', {...here}, `sources ${here.app} ${here.env}`);
  const annotations = useData<{annotations: Annotation[]} | Annotation[]>('/annotations', {...here, from: r.from, to: r.to}, `marks ${here.app} ${here.env}`);
  const marks = useMemo(() => deployMarks(Array.isArray(annotations.data) ? annotations.data : annotations.data?.annotations), [annotations.data]);
  const all = useMemo(() => metricsOf(of.data?.metrics ?? [], sources.data?.sources ?? []), [of.data, sources.data]);
  const q = param('q').toLowerCase();
  const shown = all.filter((m) => `${m.name} ${metricTitle(m.name)}`.toLowerCase().includes(q));
  const groups = ORDER.filter((group) => shown.some((m) => groupOf(m.name) === group));
  return (
    <Page title="Health" sourced>
      <Loaded of={of}>{(data) => data.metrics.length === 0
        ? <Panel><Empty title="No metrics in this time range" causes={['Metrics come once a minute: the first needs up to a minute after the start.', 'The program does not run, or its agent was stopped: see Sources.', 'The clock of that machine is off.']}><LastReport /></Empty></Panel>
        : <>
          <div class="row"><SearchField label="Search metrics" /></div>
          {groups.map((group) => (
            <section class="stack" key={group} aria-label={group}>
              <h2>{group}</h2>
              <div class="grid metrics">{shown.filter((m) => groupOf(m.name) === group).map((m) => <One key={m.name} metric={m} marks={marks} />)}</div>
            </section>
          ))}
          {shown.length === 0 && <p class="muted">No metric is called that.</p>}
        </>}</Loaded>
    </Page>
  );
}
