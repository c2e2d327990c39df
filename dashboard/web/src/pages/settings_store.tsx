// Settings: how long telemetry is kept, deleting an application, where notifications go, and who did what.
import {useEffect, useState} from 'preact/hooks';
import {get, post, queryString, remove} from '../api/client';
import type {App, AuditEntry, Channel, Retention} from '../api/types';
import {bytes, count, inUnit} from '../app/format';
import {useData} from '../app/resource';
import {param, setParams} from '../app/router';
import {may} from '../app/session';
import {Empty, Failure, Field, Loaded, Panel, Pill, Time} from '../components/basics';
import {apps, loadApps} from '../components/nav';
import {Settings, useAction} from './settings_parts';

const DAY_MS = 86_400_000;
const GIB = 2 ** 30;

function RetentionForm({now, onDone}: {now: Retention; onDone: () => void}) {
  const [days, setDays] = useState(String(Math.round(now.retention_ms / DAY_MS)));
  const [gib, setGib] = useState(now.max_bytes > 0 ? String(Number((now.max_bytes / GIB).toFixed(2))) : '');
  const {error, busy, act} = useAction();
  const shorter = Number(days) * DAY_MS < now.retention_ms;
  return (
    <form class="stack" onSubmit={(event) => {
      event.preventDefault();
      act(async () => {
        await post('/settings/retention', {retention_days: Number(days), max_bytes: Math.round(Number(gib || 0) * GIB)});
        onDone();
      });
    }}>
      <div class="grid two">
        <Field label="Keep for, in days" hint="Accounts, keys, alerts, snapshots and the audit log stay"><input class="input" required type="number" min={1} max={3650} step={1} value={days} onInput={(e) => setDays(e.currentTarget.value)} /></Field>
        <Field label="At most, in GiB" hint="Empty: as much as the disk has, less 256 MiB"><input class="input" type="number" min={0} step="any" value={gib} onInput={(e) => setGib(e.currentTarget.value)} /></Field>
      </div>
      {shorter && <p class="notice warn">Data older than {count(Number(days))} days will be deleted at once.</p>}
      {error && <Failure error={error} />}
      <div><button class="button primary" type="submit" disabled={busy}>Save</button></div>
    </form>
  );
}

const placeOf = (a: App): string => `${a.app}, ${a.env}`;

/* What cannot be undone asks for the name: a click in the wrong line deletes nothing. */
function DeleteApplication() {
  const [place, setPlace] = useState('');
  const [name, setName] = useState('');
  const [gone, setGone] = useState('');
  const {error, busy, act} = useAction();
  const chosen = (apps.value ?? []).find((a) => placeOf(a) === place);
  return (
    <Panel title="Delete an application">
      <form class="stack" onSubmit={(event) => {
        event.preventDefault();
        if (!chosen || name !== chosen.app) return;
        act(async () => {
          await remove(`/apps${queryString({app: chosen.app, env: chosen.env, confirm: name})}`);
          setGone(place);
          setPlace('');
          setName('');
          await loadApps();
        });
      }}>
        <p>Its keys, reports, profiles, metrics, errors, alerts, marks, sources and snapshots go with it, and links that were shared to its snapshots lead nowhere. Its agents are refused for good. What was written in the audit log stays. This cannot be undone.</p>
        <div class="grid two">
          <Field label="Application to delete"><select class="input" value={place} onChange={(e) => { setPlace(e.currentTarget.value); setName(''); setGone(''); }}>
            <option value="">choose one</option>{(apps.value ?? []).map((a) => <option key={placeOf(a)} value={placeOf(a)}>{placeOf(a)}</option>)}
          </select></Field>
          <Field label="Its name again" hint={chosen ? `Type ${chosen.app} to delete it in ${chosen.env}` : 'First choose one'}><input class="input" value={name} disabled={!chosen} autocomplete="off" spellcheck={false} onInput={(e) => setName(e.currentTarget.value)} /></Field>
        </div>
        {error && <Failure error={error} />}
        {gone && <p class="notice good" role="status">{gone} was deleted.</p>}
        <div><button class="button danger" type="submit" disabled={busy || !chosen || name !== chosen.app}>Delete for good</button></div>
      </form>
    </Panel>
  );
}

export function RetentionPage() {
  const of = useData<Retention>('/settings/retention');
  return (
    <Settings title="Retention">{() => (
      <Loaded of={of}>{(r) => <>
        <Panel title="How long telemetry is kept">
          <div class="stack">
            <dl class="stats">
              <div class="stat"><dt>Kept for</dt><dd>{inUnit(Math.round(r.retention_ms / DAY_MS), 'days')}<small> set in {r.by || 'the settings'}</small></dd></div>
              <div class="stat"><dt>Holds</dt><dd>{bytes(r.used_bytes)}<small>{r.max_bytes > 0 ? ` of at most ${bytes(r.max_bytes)}` : ''}</small></dd></div>
              <div class="stat"><dt>Oldest data</dt><dd><Time ms={r.oldest_ms} relative /></dd></div>
            </dl>
            {may('admin') ? <RetentionForm key={`${r.retention_ms} ${r.max_bytes}`} now={r} onDone={of.reload} /> : <p class="muted small">Administrators change this.</p>}
          </div>
        </Panel>
        {may('admin') && <DeleteApplication />}
      </>}</Loaded>
    )}</Settings>
  );
}

function TestButton({name, onDone}: {name: string; onDone: () => void}) {
  const {error, busy, act} = useAction();
  return <>
    <button type="button" class="button" disabled={busy} onClick={() => act(async () => { await post('/channels/test', {name}); onDone(); })}>Send a test</button>
    {error && <p class="bad small" role="alert">{error.message}</p>}
  </>;
}

export function Channels() {
  const of = useData<{channels: Channel[]; configured: boolean; error?: string}>('/channels');
  const waits = of.data?.channels.some((c) => c.test && /new|queued|retry/.test(c.test.state)) ?? false;
  useEffect(() => {
    if (!waits) return undefined;
    const timer = window.setInterval(of.reload, 2000); // until the test was delivered or has failed
    return () => window.clearInterval(timer);
  }, [waits]);
  return (
    <Settings title="Channels">{() => (
      <Loaded of={of}>{(data) => <>
        {data.error && <p class="notice bad" role="alert">The channels file could not be read: {data.error}. What was loaded before stays in force.</p>}
        {data.channels.length === 0
          ? <Panel><Empty title="Nobody is told yet" causes={['Alerts are shown here, and sent nowhere.', data.configured ? 'The channels file names no channel.' : 'The dashboard was started without --channels FILE.']}><p>The file says where Slack, e-mail, webhooks or PagerDuty are, with their secrets; <code>routing.lua</code> says which alert goes where.</p></Empty></Panel>
          : <Panel flush title="Where notifications go" footer="Defined in the channels file, so that secrets stay out of this page and of its store."><div class="table-scroll" tabIndex={0} role="region" aria-label="Channels"><table class="data">
            <thead><tr><th scope="col">Name</th><th scope="col" class="wide-only">Kind</th><th scope="col">To</th><th scope="col">State</th><th scope="col" class="num wide-only">Sent</th><th scope="col" class="num wide-only">Failed</th><th scope="col">Last problem</th><th scope="col"><span class="sr">Test</span></th></tr></thead>
            <tbody>{data.channels.map((c) => (
              <tr key={c.name}>
                <td class="mono">{c.name}</td><td class="wide-only">{c.kind}</td><td class="wrap">{c.kind === 'alias' ? (c.to ?? []).join(', ') : c.target}</td>
                <td><Pill tone={c.state === 'ready' ? 'good' : c.state === 'failing' ? 'bad' : ''}>{c.state}</Pill>{c.test && <div class="tiny muted">test: {c.test.state}{c.test.error ? `, ${c.test.error}` : ''} <Time ms={c.test.time_ms} relative /></div>}</td>
                <td class="num wide-only">{count(c.sent)}{c.last_sent_ms ? <div class="tiny muted"><Time ms={c.last_sent_ms} relative /></div> : null}</td><td class="num wide-only">{count(c.failed)}</td>
                <td class="wrap muted">{c.last_error}{c.last_error_ms ? <> <Time ms={c.last_error_ms} relative /></> : null}</td>
                <td class="num">{may('admin') && <TestButton name={c.name} onDone={of.reload} />}</td>
              </tr>
            ))}</tbody>
          </table></div></Panel>}
      </>}</Loaded>
    )}</Settings>
  );
}

/* The list, whether the answer is bare or wrapped. */
function entriesOf(data: unknown): AuditEntry[] {
  if (Array.isArray(data)) return data as AuditEntry[];
  return (data as {audit?: AuditEntry[]} | undefined)?.audit ?? [];
}

export function Audit() {
  const who = param('user');
  const action = param('action');
  const of = useData<unknown>('/audit', {user: who, action}, `audit ${who} ${action}`);
  const [older, setOlder] = useState<AuditEntry[]>([]);
  const {error, busy, act} = useAction();
  useEffect(() => setOlder([]), [who, action]);
  return (
    <Settings title="Audit" admin>{() => (
      <Loaded of={of}>{(data) => {
        const list = [...entriesOf(data), ...older];
        const last = list[list.length - 1]?.id;
        const pick = (name: string, value: string) => <button type="button" class="plain-button" title={`Only ${value}`} onClick={() => setParams({[name]: value})}>{value}</button>;
        return <>
          {(who || action) && <div class="row">{who && <button type="button" class="chip" onClick={() => setParams({user: null})}>by {who} ✕</button>}{action && <button type="button" class="chip" onClick={() => setParams({action: null})}>{action} ✕</button>}</div>}
          {error && <Failure error={error} />}
          <Panel flush footer="Nothing can be taken out of this list, not even by an administrator."><div class="table-scroll" tabIndex={0} role="region" aria-label="Audit"><table class="data">
            <thead><tr><th scope="col">When</th><th scope="col">Who</th><th scope="col">What</th><th scope="col">On</th><th scope="col" class="wide-only">From</th></tr></thead>
            <tbody>{list.map((a, i) => <tr key={a.id ?? i}><td><Time ms={a.time_ms} /></td><td>{a.user ? pick('user', a.user) : ''}</td><td>{pick('action', a.action)}</td><td class="wrap">{a.target}</td><td class="mono wide-only">{a.address}</td></tr>)}</tbody>
          </table></div></Panel>
          {list.length === 0 && <p class="muted">Nothing matches.</p>}
          {list.length >= 1000 && last !== undefined && <div><button type="button" class="button" disabled={busy} onClick={() => act(async () => setOlder([...older, ...entriesOf(await get('/audit', {user: who, action, before: last}))]))}>Older</button></div>}
        </>;
      }}</Loaded>
    )}</Settings>
  );
}
