// One application at a glance: what its profiles cost, who moved, what fires, what is slow, how it fares.
import {useMemo} from 'preact/hooks';
import {overviewRequest} from '../api/requests';
import type {Alert, Overview as OverviewData} from '../api/types';
import {change, count, inUnit, milliseconds, percent, plural} from '../app/format';
import {useData} from '../app/resource';
import {appPath, context, hrefKeeping, param} from '../app/router';
import {chooseAbsolute, range} from '../app/time';
import {Chart, type Mark} from '../charts/chart';
import type {Line} from '../charts/series';
import {Spark} from '../charts/spark';
import {Empty, Loaded, Panel} from '../components/basics';
import {ChartPanel} from '../components/chart_panel';
import {LastReport, neverReported} from '../components/silence_of_data';
import {Page} from '../components/topbar';
import {collapse} from '../profile/names';
import {HOT_SPOTS, isBottleneck, typeFigure, typeTitle, valueUnit} from '../profile/measure';
import {AlertList} from './alert_list';
import {metricTitleAlone, metricUnit} from './health';
import {deployMarks, MarkButton} from './marks';

function Movers({data, href}: {data: OverviewData; href: (type: string, fn: string) => string}) {
  if (data.movers.length === 0) return <p class="muted small body">No function changed its share noticeably against the time before, or there is nothing from before to compare with.</p>;
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label="Biggest movers"><table class="data">
      <thead><tr><th scope="col">Function</th><th scope="col" class="wide-only">Profile</th><th scope="col" class="num wide-only">Before</th><th scope="col" class="num">Now</th><th scope="col" class="num">Change</th></tr></thead>
      <tbody>
        {data.movers.slice(0, 8).map((m, i) => (
          <tr key={i}>
            <td class="name"><a class="plain mono" title={m.function} href={href(m.type, m.function)}>{collapse(m.function)}</a></td>
            <td class="muted wide-only nowrap">{typeTitle(m.type)}</td>
            <td class="num wide-only">{percent(m.before)}</td><td class="num">{percent(m.after)}</td>
            <td class={'num ' + (m.after > m.before ? 'bad' : 'good')}>{m.after > m.before ? '▲ ' : '▼ '}{change(m.before, m.after)}</td>
          </tr>
        ))}
      </tbody>
    </table></div>
  );
}

function Heaviest({data, href}: {data: OverviewData; href: string}) {
  if (data.segments.length === 0) return <p class="muted small body">No segments in this range. Measure one with <code>SI_SEGMENT("name")</code>.</p>;
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label="Heaviest segments"><table class="data">
      <thead><tr><th scope="col">Segment</th><th scope="col" class="num">p95</th><th scope="col" class="num">Count</th></tr></thead>
      <tbody>
        {data.segments.slice(0, 8).map((s, i) => (
          <tr key={i}><td class="name"><a class="plain" href={`${href}${href.includes('?') ? '&' : '?'}q=${encodeURIComponent(s.name)}`}>{s.name}</a> <span class="muted tiny">{s.kind === 'segment' ? '' : s.kind}</span></td><td class="num">{milliseconds(s.p95_ms)}</td><td class="num">{count(s.count)}</td></tr>
        ))}
      </tbody>
    </table></div>
  );
}

type TypeFigures = OverviewData['types'];

function ordered(types: TypeFigures): TypeFigures {
  const rank = (type: string): number => (HOT_SPOTS.indexOf(type) + 100) % 100;
  return [...types].sort((a, b) => rank(a.type) - rank(b.type) || a.type.localeCompare(b.type));
}

/* What one type of profile cost over the range. */
function Figure({type: t, marks, href, tall}: {type: TypeFigures[number]; marks: Mark[]; href: string; tall: boolean}) {
  const unit = valueUnit(t.type, t.unit);
  const lines = useMemo((): Line[] => [{label: typeFigure(t.type, t.unit), color: 'chart-1', points: t.points, fill: true}], [t]);
  const r = range.value;
  return (
    <section class="figure" aria-label={typeTitle(t.type)}>
      <header><a href={href}>{typeTitle(t.type)}</a><span class="muted small cut" title={`${typeFigure(t.type, t.unit)}, average of the range`}>avg {inUnit(t.avg, unit)}</span><b title="The latest">{inUnit(t.last, unit)}</b></header>
      <Chart label={`${typeTitle(t.type)} over time`} lines={lines} format={(v) => inUnit(v, unit)} from={r.from} to={r.to} height={tall ? 150 : 104} marks={marks} onDrag={chooseAbsolute} sync="overview" binary={/^(bytes|By)/.test(t.unit)} />
    </section>
  );
}

const SHOWN_ALERTS = 5;

/* Critical ones first: what is shown here is what one should know. */
function latest(alerts: Alert[]): Alert[] {
  const rank = (a: Alert): number => a.severity === 'critical' ? 0 : a.severity === 'warning' ? 1 : 2;
  return [...alerts].sort((a, b) => rank(a) - rank(b) || (b.fired_ms || b.started_ms) - (a.fired_ms || a.started_ms)).slice(0, SHOWN_ALERTS);
}

const SHOWN_HEALTH = 8;
/* What one looks at first; metrics of the program itself come before the rest. */
const FIRST = ['process.cpu.utilization', 'process.memory.usage', 'system.cpu.utilization', 'system.memory.utilization', 'container.memory.utilization', 'process.thread.count',
  'process.open_file_descriptor.count', 'system.cpu.load_average'];

function importance(name: string): number {
  const at = FIRST.indexOf(name);
  return at >= 0 ? at : /^(process|system|container|si|lua)\./.test(name) ? 99 : 50;
}

export function Overview() {
  const here = context.value!;
  const r = range.value;
  const of = useData<OverviewData>(...overviewRequest(here, r, param('src')), `overview ${here.app} ${here.env} ${param('src')}`);
  const to = (rest: string): string => hrefKeeping(appPath(here.app, here.env, rest));
  return (
    <Page title="Overview" sourced controls={<MarkButton onDone={of.reload} />}>
      <Loaded of={of}>{(data) => {
        const empty = data.types.length === 0 && data.segments.length === 0 && data.health.length === 0 && data.errors.count === 0;
        const marks = deployMarks(data.annotations);
        const types = ordered(data.types).filter((t) => !isBottleneck(t.type));
        return <>
          {data.alerts.length > 0 && <Panel flush title={`${plural(data.alerts.length, 'alert')} firing`} actions={<a class="button quiet" href={hrefKeeping('/alerts', {...here, src: null})}>All alerts</a>}
            {...(data.alerts.length > SHOWN_ALERTS ? {footer: <>The {SHOWN_ALERTS} most severe and latest; <a class="link" href={hrefKeeping('/alerts', {...here, src: null})}>{data.alerts.length - SHOWN_ALERTS} more fire</a>.</>} : {})}>
            <AlertList alerts={latest(data.alerts)} onChange={of.reload} /></Panel>}
          {empty && (neverReported()
            ? <Panel><Empty title="No agent has reported yet" causes={['The program was not started observed, or ended before its first report.', 'The key belongs to another application, was mistyped or revoked: the agent’s log then says so.', 'The agent cannot reach this address.']}><LastReport /></Empty></Panel>
            : <Panel><Empty title="Nothing arrived in this time range" causes={['The program does not run, or its agent was stopped.', 'The clock of that machine is off: reports then lie outside the range.', 'The range is too short: health is reported once a minute.']}><LastReport /><a class="button" href={hrefKeeping('/sources', {...here, src: null})}>See the sources</a></Empty></Panel>)}
          {types.length > 0 && <div class={types.length > 1 ? 'grid thirds' : 'grid'}>{types.map((t) => <Figure key={t.type} type={t} marks={marks} href={to('profiles/' + encodeURIComponent(t.type))} tall={types.length === 1} />)}</div>}
          {!empty && <>
            <div class="grid two">
              <Panel flush title="Biggest movers" footer="Share of each function now, against the time before"><Movers data={data} href={(type, fn) => hrefKeeping(appPath(here.app, here.env, 'profiles/' + encodeURIComponent(type)), {q: fn})} /></Panel>
              <Panel flush title="Heaviest segments" footer="The most time in total first" actions={<a class="button quiet" href={to('segments')}>All</a>}><Heaviest data={data} href={to('segments')} /></Panel>
            </div>
            <div class="grid two">
              <ChartPanel title={<><a href={to('errors')}>Errors</a> <span class="muted small">{count(data.errors.count)} in this range</span></>} label="Errors over time" format={count} height={110}
                lines={[{label: 'errors', color: 'chart-6', points: data.errors.points, fill: false}]} marks={marks} empty="No error was recorded in this time range." />
              <Panel title={<a href={to('health')}>Health</a>}>
                <ul class="grid tiles">
                  {[...data.health].sort((a, b) => importance(a.name) - importance(b.name) || a.name.localeCompare(b.name)).slice(0, SHOWN_HEALTH).map((m) => (
                    <li key={m.name}><div class="small muted cut" title={m.name}>{metricTitleAlone(m.name)}</div><div class="row nowrap"><strong class="nowrap">{inUnit(m.last, metricUnit(m.name, m.unit))}</strong><Spark points={m.points} label={`${m.name} over time`} /></div></li>
                  ))}
                </ul>
                {data.health.length === 0 && <p class="muted small">No metrics in this range; they are sent once a minute.</p>}
              </Panel>
            </div>
          </>}
        </>;
      }}</Loaded>
    </Page>
  );
}
