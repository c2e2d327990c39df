// Made-up telemetry for the mock dashboard: deterministic, shaped like what agents send, with hostile names in every place.

export const XSS = '<img src=x onerror=alert(1)>';
export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;

/** Small seeded generator (mulberry32): the same data in every run. */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const APP = '/srv/shop/bin/shop';
const LIBC = '/usr/lib/x86_64-linux-gnu/libc.so.6';
const SQLITE = '/usr/lib/x86_64-linux-gnu/libsqlite3.so.0';
const MHD = '/usr/lib/x86_64-linux-gnu/libmicrohttpd.so.12';
const CPP = '/usr/lib/x86_64-linux-gnu/libstdc++.so.6';

const NAMED = [
  ['main', '/srv/shop/src/main.c', 88, APP], ['__libc_start_main', '', 0, LIBC], ['start_thread', '', 0, LIBC],
  ['MHD_polling_thread', '', 0, MHD], ['handle_request', '/srv/shop/src/http.c', 211, APP], ['route_search', '/srv/shop/src/search.c', 47, APP],
  ['price_rank', '/srv/shop/src/search.c', 130, APP], ['compare_price', '/srv/shop/src/search.c', 118, APP], ['qsort_r', '', 0, LIBC],
  ['sqlite3_step', '', 0, SQLITE], ['sqlite3VdbeExec', '', 0, SQLITE], ['sqlite3BtreeMovetoUnpacked', '', 0, SQLITE],
  ['std::vector<std::pair<std::string, int>, std::allocator<std::pair<std::string, int> > >::push_back(std::pair<std::string, int> const&)', '/usr/include/c++/12/bits/stl_vector.h', 1278, APP],
  ['std::unordered_map<std::string, shop::Item, std::hash<std::string>, std::equal_to<std::string> >::operator[](std::string const&)', '', 0, CPP],
  ['json_encode', '/srv/shop/src/json.c', 64, APP], ['memcpy', '', 0, LIBC], ['render_cart', '/srv/shop/lua/cart.lua', 33, 'lua'],
  ['0x55d2a10', '', 0, '/opt/vendor/blob.so'], [XSS, '/srv/' + XSS + '.c', 7, XSS], ['(other)', '', 0, ''],
];

/** A tree of about `size` nodes. `heat` scales the hot spot, so that profiles differ. */
export function makeTree(size, seed, heat = 1) {
  const next = random(seed);
  const frames = [...NAMED];
  for (let i = 0; i < Math.min(size / 3, 6000); i++) {
    const kind = i % 5;
    frames.push(kind === 0 ? [`sqlite3_internal_${i}`, '', 0, SQLITE] : kind === 1 ? [`libc_detail_${i}`, '', 0, LIBC]
      : [`shop_${['parse', 'load', 'merge', 'check', 'emit'][i % 7 % 5]}_${i}`, `/srv/shop/src/part${i % 23}.c`, 10 + i % 400, APP]);
  }
  const nodes = [[-1, 0, 0, 0]];
  const add = (parent, frame, samples) => nodes.push([parent, frame, Math.round(samples * 1e7), Math.round(samples)]) - 1;
  const top = add(0, 2, 0);
  const poll = add(top, 3, 1);
  const handle = add(poll, 4, 3);
  const search = add(handle, 5, 2);
  const rank = add(search, 6, 30 * heat);
  const sort = add(rank, 8, 6 * heat);
  add(sort, 7, 22 * heat);
  add(add(search, 12, 4), 15, 6);
  add(search, 13, 5);
  const step = add(handle, 9, 1);
  add(add(step, 10, 14), 11, 9);
  add(handle, 14, 7);
  add(handle, 16, 4);
  add(handle, 18, 3);
  add(handle, 17, 2);
  add(add(0, 1, 0), 0, 1);
  add(0, 19, 2);
  while (nodes.length < size) {
    const parent = 1 + Math.floor(next() * next() * (nodes.length - 1));
    add(parent, NAMED.length + Math.floor(next() * (frames.length - NAMED.length)), next() < 0.75 ? Math.ceil(next() * 2) : 0);
  }
  return {frames, nodes};
}

export function sum(nodes, column) {
  return nodes.reduce((total, node) => total + node[column], 0);
}

/** A daily wave with noise, and a step where a new version was deployed. */
export function wave(t, seed, base, swing, stepAt = Infinity, step = 0) {
  const next = random(Math.floor(t / MINUTE) * 7 + seed);
  return Math.max(0, base + swing * Math.sin(t / HOUR * 0.7 + seed) + swing * 0.7 * (next() - 0.5) + (t >= stepAt ? step : 0));
}

export function series(from, to, every, at) {
  const out = [];
  for (let t = Math.ceil(from / every) * every; t <= to; t += every) out.push([t, at(t)]);
  return out;
}
