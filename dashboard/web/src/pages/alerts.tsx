// Alerts: what fires now, what did before, what is silenced.
import {useState} from 'preact/hooks';
import {remove} from '../api/client';
import type {Alert, DeliveryEntry, Silence} from '../api/types';
import {count} from '../app/format';
import {useData} from '../app/resource';
import {context, hrefWith, param, path, setParams} from '../app/router';
import {may} from '../app/session';
import {now} from '../app/time';
import {Empty, Failure, Loaded, Panel, Pill, Time} from '../components/basics';
import {SearchField} from '../components/search_field';
import {Page} from '../components/topbar';
import {AlertList, deliveryTone} from './alert_list';

function Tabs() {
  const state = path.value === '/alerts' ? param('state') : '';
  const tab = (href: string, text: string, current: boolean) => <a href={href} {...(current ? {'aria-current': 'true' as const} : {})}>{text}</a>;
  return (
    <nav class="segmented" aria-label="Alerts">
      {tab(hrefWith({state: null, q: null}, '/alerts'), 'Firing', path.value === '/alerts' && state !== 'history' && state !== 'log')}
      {tab(hrefWith({state: 'history', q: null}, '/alerts'), 'History', state === 'history')}
      {tab(hrefWith({state: 'log', q: null}, '/alerts'), 'Delivery log', state === 'log')}
      {tab(hrefWith({state: null, q: null}, '/silences'), 'Silences', path.value === '/silences')}
    </nav>
  );
}

function DeliveryLog() {
  const here = context.value;
  const of = useData<{deliveries: DeliveryEntry[]}>('/deliveries', {...here, t: now.value}, `deliveries ${here?.app ?? ''} ${here?.env ?? ''}`);
  const q = param('q').toLowerCase();
  return (
    <Loaded of={of}>{(data) => {
      const list = data.deliveries.filter((d) => `${d.rule} ${d.subject} ${d.destination} ${d.state} ${d.app} ${d.env} ${d.error}`.toLowerCase().includes(q));
      return <Panel flush>{list.length === 0 ? <Empty title={q ? 'No delivery matches' : 'Nobody was told anything yet'} causes={q ? [] : ['No alert has fired.', 'No route leads anywhere: see routing.lua.', 'Alerts were silenced.']} />
        : <div class="table-scroll" tabIndex={0} role="region" aria-label="Deliveries"><table class="data">
          <thead><tr><th scope="col">When</th><th scope="col">To</th><th scope="col">State</th><th scope="col" class="num wide-only">Attempts</th><th scope="col">About</th><th scope="col" class="wide-only">Application</th><th scope="col">Problem</th></tr></thead>
          <tbody>{list.map((d) => (
            <tr key={d.id}><td><Time ms={d.time_ms} /></td><td class="wrap">{d.destination}</td><td><Pill tone={deliveryTone(d.state)}>{d.state}</Pill></td><td class="num wide-only">{count(d.attempts)}</td>
              <td class="wrap"><span class="mono">{d.rule}</span> {d.subject} <span class="muted">{d.about}</span></td><td class="wide-only">{d.app} <span class="muted">{d.env}</span></td><td class="wrap muted">{d.error}</td></tr>
          ))}</tbody>
        </table></div>}</Panel>;
    }}</Loaded>
  );
}

export function Alerts() {
  const here = context.value;
  return (
    <Page title={here ? `Alerts of ${here.app}` : 'Alerts'} timed={false}>
      <div class="row"><Tabs /><SearchField label="Search alerts" />{here && <a class="button quiet" href={hrefWith({app: null, env: null})}>Of all applications</a>}</div>
      {param('state') === 'log' ? <DeliveryLog /> : <Incidents />}
    </Page>
  );
}

function Incidents() {
  const history = param('state') === 'history';
  const here = context.value;
  const of = useData<{alerts: Alert[]}>('/alerts', {...here, state: history ? '' : 'firing', t: now.value}, `alerts ${history} ${here?.app ?? ''} ${here?.env ?? ''}`);
  const q = param('q').toLowerCase();
  return <>
      <Loaded of={of}>{(data) => {
        const list = data.alerts.filter((a) => history || a.state === 'firing' || a.state === 'pending')
          .filter((a) => `${a.rule} ${a.subject} ${a.summary} ${a.host} ${a.app} ${a.env}`.toLowerCase().includes(q))
          .sort((a, b) => (b.fired_ms || b.started_ms) - (a.fired_ms || a.started_ms));
        return <Panel flush>{list.length > 0 ? <AlertList alerts={list} onChange={of.reload} />
          : history ? <Empty title={q ? 'No alert matches' : 'No alert has fired yet'} causes={q ? [] : ['Nothing was wrong.', 'No rules are loaded: see Rules for their state and errors.']} />
            : <Empty title={q ? 'No alert matches' : 'Nothing fires'} causes={q ? [] : ['All is well.', 'Agents are silent: an agent that is not up cannot fire. See Sources.', 'No rules are loaded: see Rules.']} />}</Panel>;
      }}</Loaded>
  </>;
}

export function Silences() {
  const ended = param('ended') === '1';
  const of = useData<{silences: Silence[]}>('/silences', {all: ended ? 1 : ''}, `silences ${ended}`);
  const [error, setError] = useState<Error | null>(null);
  const end = async (id: number): Promise<void> => {
    try {
      await remove(`/silences/${id}`);
      setError(null);
      of.reload();
    } catch (cause) {
      setError(cause instanceof Error ? cause : new Error(String(cause)));
    }
  };
  return (
    <Page title="Silences" timed={false}>
      <div class="row"><Tabs /><label class="check"><input type="checkbox" checked={ended} onChange={() => setParams({ended: ended ? null : 1}, true)} />also those that have ended</label></div>
      {error && <Failure error={error} />}
      <Loaded of={of}>{(data) => <Panel flush>{data.silences.length === 0
        ? <Empty title="Nothing is silenced"><p>Silence an alert from its details: it goes on being recorded, and nobody is told until the silence ends.</p></Empty>
        : <div class="table-scroll" tabIndex={0} role="region" aria-label="Silences"><table class="data">
          <thead><tr><th scope="col">Matches</th><th scope="col">Comment</th><th scope="col">Until</th><th scope="col">By</th><th scope="col" /></tr></thead>
          <tbody>{data.silences.map((s) => (
            <tr key={s.id}>
              <td>{Object.entries(s.match).filter(([, v]) => v).map(([k, v]) => <span class="tag" key={k}>{k}={v}</span>)}</td>
              <td class="wrap">{s.comment}</td><td><Time ms={s.until_ms} /></td><td>{s.created_by}</td>
              <td class="num">{s.active === false ? <span class="muted">ended</span> : may('editor') && <button type="button" class="button" onClick={() => void end(s.id)}>End</button>}</td>
            </tr>
          ))}</tbody>
        </table></div>}</Panel>}</Loaded>
    </Page>
  );
}
