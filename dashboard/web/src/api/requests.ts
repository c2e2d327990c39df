// What the pages that people open first ask for. Each request is written once: pages use it, and early.ts sends it while the
// scripts of the page are still on their way.
import {type Range, rangeOf} from '../app/ranges';
import {type Query, queryString} from './query';

export interface Place {
  app: string;
  env: string;
}

export type Request = [path: string, query: Query];

export const overviewRequest = (place: Place, r: Range, src: string): Request => ['/overview', {...place, from: r.from, to: r.to, src}];
export const historyRequest = (place: Place, type: string, r: Range, src: string): Request => ['/profiles', {...place, type, from: r.from, to: r.to, src}];
export const sourcesRequest = (place: Place): Request => ['/sources', {...place}];
export const marksRequest = (place: Place, r: Range): Request => ['/annotations', {...place, from: r.from, to: r.to}];
export const bottlenecksRequest = (place: Place, kind: string, r: Range, src: string): Request => ['/bottlenecks', {...place, kind, from: r.from, to: r.to, src}];
/** `selection` and `base`: which profiles, and what they stand beside; see pages/profiles.tsx. */
export const treeRequest = (place: Place, type: string, selection: Query, base: Query): Request => ['/profiles/tree', {...place, type, ...selection, ...base, trend: 1}];
export const rangeSelection = (r: Range, params: URLSearchParams): Query => ({from: r.from, to: r.to, src: params.get('src'), version: params.get('version')});

function decoded(path: string): string[] {
  try {
    return path.split('/').filter(Boolean).map(decodeURIComponent);
  } catch {
    return []; // not an address of ours
  }
}

/** What the page at this address asks for first, as far as its address alone says. */
export function firstRequests(path: string, search: string, now: number): string[] {
  const [a, app, env, page = 'overview', part] = decoded(path);
  const of: Request[] = [['/apps', {}]];
  if (a === 'a' && app && env) {
    const place = {app, env};
    const params = new URLSearchParams(search);
    const r = rangeOf(params, now);
    const src = params.get('src') ?? '';
    of.push(sourcesRequest(place));
    if (page === 'overview') of.push(overviewRequest(place, r, src));
    if (page === 'bottlenecks') of.push(bottlenecksRequest(place, part ?? 'http_handler', r, src));
    if (page === 'profiles') {
      const type = part ?? 'cpu';
      of.push(historyRequest(place, type, r, src), marksRequest(place, r));
      if (!params.has('at') && !params.has('base') && params.get('view') !== 'diff') of.push(treeRequest(place, type, rangeSelection(r, params), {}));
    }
  }
  return of.map(([to, query]) => to + queryString(query));
}
