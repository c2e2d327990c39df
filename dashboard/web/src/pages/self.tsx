// The dashboard's own health: how much arrives, how far behind it is, what it keeps, what was slow.
import {useMemo} from 'preact/hooks';
import type {Self, SelfHistory} from '../api/types';
import {bytes, count, inUnit, milliseconds, percent} from '../app/format';
import {useData} from '../app/resource';
import {appPath} from '../app/router';
import {now, range} from '../app/time';
import type {Line} from '../charts/series';
import {Loaded, Panel, Time} from '../components/basics';
import {ChartPanel} from '../components/chart_panel';
import {Page} from '../components/topbar';
import {apps} from '../components/nav';

function Stat({label, value, note, bad = false}: {label: string; value: string; note?: string; bad?: boolean}) {
  return <div class="stat"><dt>{label}</dt><dd class={bad ? 'bad' : ''}>{value}{note && <small> {note}</small>}</dd></div>;
}

const perSecond = (value: number): string => inUnit(value, '1/s');
const bytesPerSecond = (value: number): string => `${bytes(value)}/s`;

/* The last two days are kept, minute by minute; the page's time range chooses. */
function History() {
  const r = range.value;
  const of = useData<SelfHistory>('/self/history', {from: r.from, to: r.to}, 'self history');
  const line = useMemo(() => {
    const fields = of.data?.fields ?? [];
    const seconds = (of.data?.step_ms ?? 60_000) / 1000;
    return (label: string, name: string, color: string, rate = false): Line => {
      const at = fields.indexOf(name);
      return {label, color, fill: false, points: at < 0 ? [] : (of.data?.points ?? []).map((p): [number, number] => [p[0] ?? 0, (p[at] ?? 0) / (rate ? seconds : 1)])};
    };
  }, [of.data]);
  return (
    <Loaded of={of}>{() => (
      <div class="grid two">
        <ChartPanel title="Reports and profiles" label="Reports and profiles stored" height={130} sync="self" format={perSecond} empty="Nothing yet: the first minute is not over."
          lines={[line('reports', 'reports', 'chart-1', true), line('profiles', 'profiles', 'chart-2', true), line('refused', 'refused', 'chart-6', true)]} />
        <ChartPanel title="Until a report is acknowledged" label="Time until a report is acknowledged" height={130} sync="self" format={milliseconds} empty="Nothing yet: the first minute is not over."
          lines={[line('on average', 'wait_mean_ms', 'chart-1'), line('longest', 'wait_most_ms', 'chart-6')]} />
        <ChartPanel title="Waiting" label="Writes and rollups that wait" height={130} sync="self" format={count} empty="Nothing yet: the first minute is not over."
          lines={[line('writes, at most', 'queued_most', 'chart-1'), line('rollups due', 'rollups_due', 'chart-3')]} />
        <ChartPanel title="Bytes received" label="Bytes received" height={130} sync="self" format={bytesPerSecond} empty="Nothing yet: the first minute is not over." lines={[line('received', 'bytes', 'chart-1', true)]} />
        <ChartPanel title="Size of the store" label="Size of the store" height={130} sync="self" format={bytes} empty="Nothing yet: the first minute is not over." lines={[line('store', 'store_bytes', 'chart-2')]} />
      </div>
    )}</Loaded>
  );
}

export function SelfPage() {
  const of = useData<Self>('/self', {t: now.value}, 'self');
  const own = apps.value?.find((a) => a.app === 'si-dashboard');
  return (
    <Page title="This dashboard" controls={own && <a class="button" href={appPath(own.app, own.env, 'overview')}>Its own profiles</a>}>
      <Loaded of={of}>{(s) => {
        const largest = Math.max(1, ...s.tables.map((t) => t.bytes ?? 0));
        return <>
          <div class="grid two">
            <Panel title="Arriving">
              <dl class="stats">
                <Stat label="Reports" value={inUnit(s.ingest.reports_per_second, '1/s')} />
                <Stat label="Stored since start" value={count(s.ingest.stored)} note={bytes(s.ingest.bytes)} />
                <Stat label="Profiles" value={count(s.ingest.profiles)} />
                <Stat label="Sent twice, kept once" value={count(s.ingest.duplicates)} />
                <Stat label="Refused" value={count(s.ingest.refused)} bad={s.ingest.refused > 0} />
              </dl>
            </Panel>
            <Panel title="Writing">
              <dl class="stats">
                <Stat label="Waiting to be stored" value={count(s.writer.queued)} note="of 4 096" bad={s.writer.queued > 2048} />
                <Stat label="Last commit" value={milliseconds(s.writer.last_commit_ms)} />
                <Stat label="Reports a commit" value={count(s.writer.commits > 0 ? s.writer.writes / s.writer.commits : 0)} />
                <Stat label="Failed" value={count(s.writer.failures)} bad={s.writer.failures > 0} />
              </dl>
            </Panel>
            <Panel title="Store">
              <dl class="stats">
                <Stat label="Holds" value={bytes(s.store.used_bytes)} />
                <Stat label="Free on the disk" value={s.store.free_bytes > 0 ? bytes(s.store.free_bytes) : '–'} bad={s.store.free_bytes > 0 && s.store.free_bytes < 1 << 30} />
                <Stat label="Kept for" value={inUnit(s.store.retention_ms / 86_400_000, 'days')} />
              </dl>
            </Panel>
            <Panel title="Server">
              <dl class="stats">
                <Stat label="Version" value={s.version} /><Stat label="Up" value={inUnit(s.uptime_s, 's')} />
                <Stat label="Connections" value={count(s.connections)} note="of 4 000" /><Stat label="Requests" value={count(s.requests)} />
              </dl>
            </Panel>
          </div>
          <History />
          <Panel flush title="What the store holds"><div class="table-scroll" tabIndex={0} role="region" aria-label="Tables"><table class="data">
            <thead><tr><th scope="col">Table</th><th scope="col" class="num">Rows</th><th scope="col" class="num">Size</th><th scope="col" class="wide-only"><span class="sr">Share</span></th></tr></thead>
            <tbody>{s.tables.map((t) => <tr key={t.name}><td class="mono">{t.name}</td><td class="num">{count(t.rows)}</td><td class="num">{t.bytes === null || t.bytes === undefined ? '–' : bytes(t.bytes)}</td><td class="share-cell wide-only"><div class="share"><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="total" width={(t.bytes ?? 0) / largest * 100} height="10" /></svg><b>{t.bytes && s.store.used_bytes ? percent(t.bytes / s.store.used_bytes) : ''}</b></div></td></tr>)}</tbody>
          </table></div></Panel>
          <Panel flush title="Slow requests">{s.slow_requests.length === 0 ? <div class="body"><p class="muted small">None was slow.</p></div>
            : <div class="table-scroll" tabIndex={0} role="region" aria-label="Slow requests"><table class="data">
              <thead><tr><th scope="col">When</th><th scope="col">Request</th><th scope="col" class="num">Took</th></tr></thead>
              <tbody>{s.slow_requests.map((r, i) => <tr key={i}><td><Time ms={r.time_ms} /></td><td class="mono wrap">{r.path}</td><td class="num">{milliseconds(r.ms)}</td></tr>)}</tbody>
            </table></div>}</Panel>
          <p class="muted small">The same for Prometheus: <code>/metrics</code>. Every request of this page: <a href="/api/v1/openapi.json" target="_blank" rel="noopener">OpenAPI</a>.</p>
        </>;
      }}</Loaded>
    </Page>
  );
}
