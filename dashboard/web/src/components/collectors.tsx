// Whether the collectors of an application work, and if not, why: on the sources page, and wherever a page stays empty for it.
import type {Collector, Source} from '../api/types';
import {plural} from '../app/format';
import {useData} from '../app/resource';
import {Pill} from './basics';
import {sourceName} from './topbar';

const STATES = ['on', 'degraded', 'off', 'unavailable'] as const;
const TONES = {on: 'good', degraded: 'warn', off: '', unavailable: 'bad'} as const;

/* Types of profiles by the collector that takes them. */
const COLLECTORS: Record<string, RegExp> = {
  cpu: /^cpu$/, heap: /^heap$/, alloc: /^heap$/, network: /^(wait|network|net)$/, system: /^(wait|system)$/, lock: /^(lock|wait)$/, channel: /^(wait|channel)$/,
  http_handler: /^http/, http_client: /^http/, database: /^(database|sql|sqlite|postgres|mysql|redis|mongo)/, segment: /^segment/, errors: /^(error|crash)/,
};

/** Sentences about collectors of a type that do not work somewhere: what an empty page has to say first. */
export function useCollectorTrouble(here: {app: string; env: string} | null, type: string): string[] {
  const of = useData<{collectors: Collector[]}>(here ? '/collectors' : null, {...here}, `collectors ${here?.app ?? ''} ${here?.env ?? ''}`);
  const wanted = COLLECTORS[type] ?? new RegExp(`^${type.replace(/[^\w]/g, '.')}$`);
  const out: string[] = [];
  for (const collector of of.data?.collectors ?? []) {
    if (!wanted.test(collector.name)) continue;
    for (const one of collector.reasons) {
      if (one.state === 'on') continue;
      out.push(`The ${collector.name} collector is ${one.state} at ${plural(one.sources.length, 'source')}${one.reason ? `: ${one.reason}` : ''}.`);
    }
  }
  return out;
}

/* What works needs no row of its own. */
function isFine(c: Collector): boolean {
  return STATES.every((state) => state === 'on' || !(c.sources[state] ?? 0));
}

/** Parts that work, side by side, each with what it says of itself. */
export function Working({parts}: {parts: {name: string; reason: string}[]}) {
  return (
    <ul class="working" aria-label="What works">
      {parts.map((part) => <li key={part.name}><i class="live-dot" aria-hidden="true" /><b class="mono">{part.name}</b>{part.reason && <span class="muted">{part.reason}</span>}</li>)}
    </ul>
  );
}

export function CollectorTable({collectors, sources}: {collectors: Collector[]; sources: Source[]}) {
  const who = (ids: number[]): string => ids.slice(0, 4).map((id) => {
    const source = sources.find((s) => s.id === id);
    return source ? sourceName(source) : `source ${id}`;
  }).join(', ') + (ids.length > 4 ? ` and ${ids.length - 4} more` : '');
  const fine = collectors.filter(isFine);
  const others = collectors.filter((c) => !isFine(c));
  return <>
    {fine.length > 0 && <div class="body"><Working parts={fine.map((c) => ({name: c.name, reason: ''}))} /></div>}
    {others.length > 0 && <div class="table-scroll" tabIndex={0} role="region" aria-label="Collectors"><table class="data">
      <thead><tr><th scope="col">Collector</th><th scope="col">State</th><th scope="col">Why, and where</th></tr></thead>
      <tbody>{others.map((c) => (
        <tr key={c.name}>
          <td class="mono">{c.name}</td>
          <td><span class="row tight">{STATES.filter((state) => (c.sources[state] ?? 0) > 0).map((state) => <Pill key={state} tone={TONES[state]}>{state}{(c.sources[state] ?? 0) > 1 ? ` ×${c.sources[state]}` : ''}</Pill>)}</span></td>
          <td class="wrap muted">{c.reasons.filter((r) => r.reason && r.state !== 'on').map((r, i) => <div key={i}><b>{r.state}: </b>{r.reason}<span class="tiny"> — {who(r.sources)}</span></div>)}</td>
        </tr>
      ))}</tbody>
    </table></div>}
  </>;
}
