// Alerts as a list: what, where, since when, who was told; acknowledging and silencing in place.
import {useState} from 'preact/hooks';
import {post, remove} from '../api/client';
import type {Alert, Delivery} from '../api/types';
import {count, plural} from '../app/format';
import {appPath, hrefKeeping, param, setParams} from '../app/router';
import {may} from '../app/session';
import {CopyButton, Failure, Field, Pill, SafeLink, severityTone, Time} from '../components/basics';

export function deliveryTone(state: string): 'good' | 'bad' | 'warn' {
  return state === 'sent' || state === 'delivered' ? 'good' : state === 'failed' || state === 'no channel' ? 'bad' : 'warn';
}

function Deliveries({list}: {list: Delivery[]}) {
  if (list.length === 0) return <p class="muted small">Nobody was told by this dashboard: no route matched, or its agent notifies by itself.</p>;
  return (
    <table class="data">
      <thead><tr><th scope="col">Told</th><th scope="col">State</th><th scope="col" class="num">Attempts</th><th scope="col">When</th><th scope="col">Problem</th></tr></thead>
      <tbody>{list.map((d, i) => <tr key={i}><td>{d.destination}</td><td><Pill tone={deliveryTone(d.state)}>{d.state}</Pill></td><td class="num">{count(d.attempts)}</td><td><Time ms={d.time_ms} /></td><td class="wrap">{d.error}</td></tr>)}</tbody>
    </table>
  );
}

const SILENCES: [string, number][] = [['1 hour', 1], ['8 hours', 8], ['1 day', 24], ['1 week', 168]];

function Acknowledge({alert, onDone}: {alert: Alert; onDone: () => void}) {
  const [comment, setComment] = useState('');
  const [error, setError] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const act = async (what: () => Promise<unknown>): Promise<void> => {
    setBusy(true);
    try {
      await what();
      onDone();
    } catch (cause) {
      setError(cause instanceof Error ? cause : new Error(String(cause)));
    } finally {
      setBusy(false);
    }
  };
  const silence = (hours: number): Promise<unknown> => post('/silences', {
    match: {rule: alert.rule, app: alert.app, env: alert.env, ...(alert.host ? {host: alert.host} : {})}, until_ms: Date.now() + hours * 3_600_000, comment,
  });
  return (
    <form class="stack tight" onSubmit={(event) => { event.preventDefault(); void act(() => post(`/alerts/${alert.id}/ack`, {comment})); }}>
      <Field label="Comment"><input class="input" value={comment} maxLength={500} placeholder="What you know, or do about it" onInput={(e) => setComment(e.currentTarget.value)} /></Field>
      <div class="row">
        {!alert.acked_by && alert.state !== 'resolved' && <button class="button primary" type="submit" disabled={busy}>Acknowledge</button>}
        {alert.acked_by && alert.state !== 'resolved' && <button class="button" type="button" disabled={busy} onClick={() => void act(() => remove(`/alerts/${alert.id}/ack`))}>Not acknowledged after all</button>}
        <span class="muted small">Silence for</span>
        {SILENCES.map(([label, hours]) => <button type="button" class="button" key={hours} disabled={busy} onClick={() => void act(() => silence(hours))}>{label}</button>)}
      </div>
      {error && <Failure error={error} />}
    </form>
  );
}

function Item({alert, onChange}: {alert: Alert; onChange: () => void}) {
  const open = param('alert') === String(alert.id); // a link to one alert opens it
  const firing = alert.state === 'firing';
  return (
    <li class="alert-item">
      <Pill tone={firing ? severityTone(alert.severity) : alert.state === 'pending' ? 'warn' : ''}>{firing ? alert.severity : alert.state}</Pill>
      <div class="what">
        <strong>{alert.summary || alert.rule}</strong>
        <div class="row small muted">
          <a class="tag" title="The rule" href={hrefKeeping('/rules', {app: alert.app, env: alert.env, src: null, q: alert.rule})}>{alert.rule}</a>{alert.subject && <span>{alert.subject}</span>}
          <a href={appPath(alert.app, alert.env, 'overview')}>{alert.app} · {alert.env}</a><span>{alert.host}</span>
          {alert.acked_by && <Pill tone="info">seen by {alert.acked_by}</Pill>}{alert.silenced && <Pill>silenced</Pill>}
          {alert.runbook && <SafeLink href={alert.runbook}>Runbook</SafeLink>}
        </div>
        {open && (
          <div class="stack tight">
            {alert.detail && <pre>{alert.detail}</pre>}
            <p class="small muted">The rule saw {alert.value === null ? 'no value' : count(alert.value)}. Pending since <Time ms={alert.started_ms} />{alert.fired_ms ? <>, fired <Time ms={alert.fired_ms} /></> : null}{alert.resolved_ms ? <>, resolved <Time ms={alert.resolved_ms} /></> : null}{alert.acked_by ? <>, acknowledged by {alert.acked_by} <Time ms={alert.acked_ms} /></> : null}.{alert.ack_comment ? <> “{alert.ack_comment}”</> : null}</p>
            <Deliveries list={alert.deliveries ?? []} />
            <div><CopyButton text={`${window.location.origin}/alerts?state=history&alert=${alert.id}`} label="Copy the link" /></div>
            {may('editor') && <Acknowledge alert={alert} onDone={onChange} />}
          </div>
        )}
      </div>
      <div class="row nowrap small muted">
        <Time ms={alert.resolved_ms || alert.fired_ms || alert.started_ms} relative />
        <button type="button" class="button" aria-expanded={open} aria-label={`Details of ${alert.summary || alert.rule}`} onClick={() => setParams({alert: open ? null : alert.id}, true)}>{open ? 'Less' : 'Details'}</button>
      </div>
    </li>
  );
}

export function AlertList({alerts, onChange}: {alerts: Alert[]; onChange: () => void}) {
  return <ul aria-label={plural(alerts.length, 'alert')}>{alerts.map((alert) => <Item key={alert.id} alert={alert} onChange={onChange} />)}</ul>;
}
