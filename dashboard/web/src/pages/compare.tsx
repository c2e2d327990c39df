// What a profile is compared with: another profile, span, source or version. The choice is in the address as ?base=.
import type {ProfileTree, Source, Version} from '../api/types';
import {useData} from '../app/resource';
import {context, hrefWith, param, setParams} from '../app/router';
import {range} from '../app/time';
import {Popover, Time} from '../components/basics';
import {sourceName} from '../components/topbar';

/** ?at= holds a profile's id, or a span of time "from-to" to merge. */
export type Choice = {id: number; from?: undefined; to?: undefined} | {id?: undefined; from: number; to: number} | null;
/** ?base= holds the same, or "src:ID" (the same time of another source), or "version:TEXT@from-to" (when that version ran). */
export type Base = Choice | {src: string} | {version: string; from: number | undefined; to: number | undefined};

export function parseChoice(text: string): Choice {
  const span = /^(\d{10,})-(\d{10,})$/.exec(text);
  if (span) {
    const from = Number(span[1]);
    const to = Number(span[2]);
    return from < to ? {from, to} : null;
  }
  return /^\d+$/.test(text) ? {id: Number(text)} : null;
}

export function parseBase(text: string): Base {
  const src = /^src:(\d+)$/.exec(text);
  if (src) return {src: src[1]!};
  const version = /^version:(.+?)(?:@(\d{10,})-(\d{10,}))?$/s.exec(text);
  if (!version) return parseChoice(text);
  return {version: version[1]!, from: version[2] ? Number(version[2]) : undefined, to: version[3] ? Number(version[3]) : undefined};
}

export function baseQuery(base: Base): Record<string, string | number> {
  if (!base) return {};
  if ('src' in base) return {base_src: base.src};
  if ('version' in base) return {base_version: base.version, ...(base.from && base.to ? {base_from: base.from, base_to: base.to} : {})};
  return base.id !== undefined ? {base: base.id} : {base_from: base.from, base_to: base.to};
}

const DAY_MS = 86_400_000;

/* At most its last day: when it ran longer, the newest of it is what one compares with. */
function versionBase(v: Version): string {
  return `version:${v.version}@${Math.max(v.first_seen_ms, v.last_seen_ms - DAY_MS)}-${v.last_seen_ms + 60_000}`;
}

/** The span of the same length just before. */
export function spanBefore(from: number, to: number): string {
  return `${Math.round(from - (to - from))}-${Math.round(from)}`;
}

export function baseLabel(base: Base, sources: Source[]) {
  if (!base) return null;
  if ('src' in base) {
    const source = sources.find((s) => String(s.id) === base.src);
    return <>source {source ? sourceName(source) : base.src}</>;
  }
  if ('version' in base) return <>version {base.version}</>;
  return base.id !== undefined ? <>profile {base.id}</> : <><Time ms={base.from} /> – <Time ms={base.to} /></>;
}

function Options({span, single, sources, onChoose}: {span: {from: number; to: number}; single: boolean; sources: Source[]; onChoose: (value: string, version?: string) => void}) {
  const here = context.value!;
  const versions = useData<{versions: Version[]}>('/versions', {...here}, `versions ${here.app} ${here.env}`);
  const back = (ms: number): string => `${Math.round(span.from - ms)}-${Math.round(span.to - ms)}`;
  const item = (label: string, value: string, version?: string) => <button type="button" class="item" key={value} onClick={() => onChoose(value, version)}><span class="cut">{label}</span></button>;
  const known = versions.data?.versions ?? [];
  return <>
    {single ? item('With the hour before', `${Math.round(span.from - 3_600_000)}-${Math.round(span.from)}`) : item('With the same span just before', spanBefore(span.from, span.to))}
    {item('With the same time yesterday', back(86_400_000))}
    {item('With the same time a week ago', back(7 * 86_400_000))}
    {known.length > 1 && <><hr /><p class="pad muted tiny">With another version</p>{known.filter((v) => v.version).slice(0, 8).map((v, i) => item(v.version, versionBase(v), i === 0 ? known[1]?.version : known[0]?.version))}</>}
    {sources.length > 1 && <><hr /><p class="pad muted tiny">With another source</p>{sources.slice(0, 12).map((s) => item(sourceName(s), `src:${s.id}`))}</>}
    <hr /><p class="pad muted small">Or hold Shift and drag over the history above.</p>
  </>;
}

export function Compare({answer, at, base, sources}: {answer: ProfileTree; at: Choice; base: Base; sources: Source[]}) {
  const r = range.value;
  const span = at?.from !== undefined ? at : at ? {from: answer.start_ms, to: Math.max(answer.end_ms, answer.start_ms + 1000)} : {from: r.from, to: r.to};
  if (base) return <a class="button" href={hrefWith({base: null})}>End comparison</a>;
  return (
    <Popover label="Compare" text="Compare">
      {(close) => <Options span={span} single={at?.id !== undefined} sources={sources} onChoose={(value, version) => { setParams({base: value, zoom: null, ...(version && at?.id === undefined && !param('version') ? {version} : {})}); close(); }} />}
    </Popover>
  );
}
