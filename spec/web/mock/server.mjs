// A stand-in for si-dashboard while pages are drawn: serves built pages and docs/api.md over made-up data.
// node spec/web/mock/server.mjs --web DIR [--port N] [--state fresh|setup] [--big N]
import {createServer} from 'node:http';
import {readFile} from 'node:fs/promises';
import {join, normalize} from 'node:path';
import {fileURLToPath} from 'node:url';
import {HOUR, makeTree, MINUTE, random, series, sum, wave, XSS} from './data.mjs';

const STARTED = Date.now();
const DEPLOYED = STARTED - 35 * MINUTE;
const CORES = 4;
const PROFILE_MS = 2000;
const CSP = "default-src 'self'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

const SOURCES = [
  {id: 1, host: 'shop-1', pid: 4117}, {id: 2, host: 'shop-2', pid: 903}, {id: 3, host: XSS, pid: 12},
].map((source, i) => ({
  ...source, app_version: i === 1 ? '1.4.1' : '1.4.2', runtime_version: 'glibc 2.36', build_id: 'a3f09c11d7e24b55a8', run_id: '9f3b' + i + 'c0ffee11',
  agent_version: '0.1.0', os: 'Linux 6.1.0-26-amd64 x86_64', first_seen_ms: STARTED - 26 * HOUR, last_seen_ms: STARTED - (i === 2 ? 40 * MINUTE : 4000), up: i !== 2,
  statuses: [
    {name: 'cpu', state: 'on', reason: '99 Hz on 12 threads'}, {name: 'process', state: 'on', reason: ''}, {name: 'host', state: 'on', reason: ''},
    {name: 'lua_vm', state: 'off', reason: 'no Lua state is attached'}, {name: 'symbols', state: 'degraded', reason: `no symbols in ${XSS}.so: install its debug package`},
    {name: 'net', state: 'unavailable', reason: '/proc/net is not readable in this container'},
  ],
  losses: [{name: 'reports', made: 1580, stored: 1579, pending: 1, dropped: 0, reason: ''}, {name: 'samples', made: 884211, stored: 884198, pending: 0, dropped: i === 1 ? 13 : 0, reason: i === 1 ? 'the ring was full' : ''}],
  rules_hash: '5be1c0aa77d2',
}));

function alerts(state) {
  const firing = {id: 1, fingerprint: 'f'.repeat(32), rule: 'cpu_high', subject: 'process.cpu.utilization', severity: 'critical', summary: 'CPU of shop-1 is 92 % for 5 minutes, 31 % is usual at this hour',
    runbook: 'https://example.org/runbooks/cpu', detail: 'top growth:\n  price_rank  12 % -> 41 %\n  compare_price  3 % -> 9 %', app: 'shop', env: 'production', host: 'shop-1', state: 'firing', value: 0.92,
    started_ms: STARTED - 11 * MINUTE, fired_ms: STARTED - 6 * MINUTE, resolved_ms: 0, acked_by: null, acked_ms: null, silenced: false,
    deliveries: [{destination: 'slack #ops', state: 'sent', error: '', attempts: 1, time_ms: STARTED - 6 * MINUTE}, {destination: 'mail oncall@example.org', state: 'failed', error: '451 try later', attempts: 4, time_ms: STARTED - 2 * MINUTE}]};
  const hostile = {...firing, id: 2, fingerprint: 'e'.repeat(32), rule: 'error_rate', subject: XSS, severity: 'warning', summary: `Errors of ${XSS} tripled`, runbook: 'javascript:alert(1)', detail: XSS, host: XSS, deliveries: [{destination: XSS, state: 'pending', error: XSS, attempts: 0, time_ms: STARTED}]};
  const old = {...firing, id: 3, fingerprint: 'd'.repeat(32), rule: 'memory_growth', subject: 'process.memory.usage', severity: 'warning', summary: 'Memory grows by 8 MiB/h', state: 'resolved', resolved_ms: STARTED - 3 * HOUR, fired_ms: STARTED - 5 * HOUR, deliveries: []};
  return [firing, hostile, old].map((alert) => ({...alert, ...state.acked[alert.id]})).filter((alert) => !state.wanted || alert.state === state.wanted);
}

const trees = new Map();
function treeFor(key, size, heat) {
  if (!trees.has(key)) trees.set(key, makeTree(size, 42, heat));
  return trees.get(key);
}

function profilePoints(query) {
  const from = Number(query.get('from'));
  const to = Math.min(Number(query.get('to')), Date.now());
  const src = Number(query.get('src'));
  const points = [];
  for (const source of SOURCES.slice(0, 2)) {
    if (src && src !== source.id) continue;
    for (const [t, value] of series(from, to, MINUTE, (at) => wave(at, source.id, 0.24, 0.07, DEPLOYED, 0.22))) {
      if (!source.up) continue;
      const at = t + source.id * 7000;
      points.push({id: Math.floor(t / MINUTE) * 10 + source.id, t: at, duration_ms: PROFILE_MS, value, total: value * PROFILE_MS * CORES * 1e6, samples: Math.round(value * 800), source: source.id, app_version: at < DEPLOYED ? '1.4.1' : '1.4.2', trigger: 'cadence'});
    }
  }
  return points;
}

const UNITS = {heap: 'bytes', alloc: 'bytes'};
const TYPES_SENT = ['cpu', 'heap', 'alloc', 'network', 'system', 'lock', 'http_handler'];

function profileTree(query, size) {
  const at = Number(query.get('at')) || 0;
  const from = Number(query.get('from')) || Math.floor(at / 10) * MINUTE;
  const to = Number(query.get('to')) || from + PROFILE_MS;
  const profiles = at ? 1 : Math.max(1, Math.round((to - from) / MINUTE) * 2);
  const hot = (at ? Math.floor(at / 10) * MINUTE : to) > DEPLOYED;
  const {frames, nodes: plain} = treeFor(`${size} ${hot}`, size, hot ? 2.2 : 1);
  const nodes = plain.map(([parent, frame, self, samples]) => [parent, frame, self * profiles, samples * profiles]);
  const answer = {type: query.get('type'), unit: UNITS[query.get('type')] ?? 'ns', profiles, samples: sum(nodes, 3), total: sum(nodes, 2), duration_ms: PROFILE_MS * profiles, cores: CORES, start_ms: from, end_ms: to,
    context: at ? {host: 'shop-1', app_version: '1.4.2', runtime_type: 'C', runtime_version: 'glibc 2.36', build_id: 'a3f09c11d7e24b55a8', run_id: '9f3b0c0ffee11', agent_version: '0.1.0', os: 'Linux 6.1.0', pid: 4117, tags: ['zone=a', XSS]} : {},
    frames, nodes, hidden: {nodes: 812, value: sum(nodes, 2) * 0.03}};
  const baseFrom = Number(query.get('base_from')) || (query.get('base_src') || query.get('base_version') ? from : 0);
  if (baseFrom || query.get('base')) {
    const baseTo = Number(query.get('base_to')) || to;
    const baseProfiles = baseFrom ? Math.max(1, Math.round((baseTo - baseFrom) / MINUTE) * 2) : 1;
    const next = random(9);
    const base = treeFor(`${size} false`, size, 1).nodes;
    answer.nodes = nodes.map((node, i) => [...node, Math.round(base[i][2] * baseProfiles * (0.97 + next() * 0.06))]);
    answer.before = {profiles: baseProfiles, total: sum(answer.nodes, 4), duration_ms: PROFILE_MS * baseProfiles};
    const equal = Math.abs(baseProfiles - profiles) <= 0.01 * profiles;
    answer.comparison = {mode: equal ? 'absolute' : 'normalized', factor: profiles / baseProfiles, by: equal ? 'window' : 'profiles', text: equal ? 'Both cover the same time: amounts are compared.' : 'The base is scaled to the time of the selection.'};
  }
  if (query.get('trend')) {
    answer.trend = {};
    const base = treeFor(`${size} false`, size, 1).nodes;
    answer.nodes = nodes.map((node, i) => [...node, base[i][2] * 1440]);
    answer.nodes.push([1, 6, 0, 0, 5e9]); // only the day before has it
    answer.before = {profiles: 1440, total: sum(answer.nodes, 4), duration_ms: PROFILE_MS * 1440};
    const totals = nodes.map((node) => node[2]);
    for (let i = nodes.length - 1; i > 0; i--) totals[nodes[i][0]] += totals[i];
    const top = totals.map((value, i) => [value, i]).sort((a, b) => b[0] - a[0]).slice(0, 40);
    for (const [value, i] of top) answer.trend[i] = series(from - 24 * HOUR, from, HOUR, (t) => value / answer.total * (i % 3 ? 1 : 0.5) * (0.9 + 0.2 * random(t / HOUR + i)()));
  }
  return answer;
}

const SEGMENTS = [['checkout', 'segment', 48, 900], ['GET /search', 'http_handler', 120, 5200], ['GET /cart/:id', 'http_handler', 22, 8800], ['SELECT FROM orders', 'sql', 9, 14000], ['http://prices.internal', 'http_client', 71, 2100], [XSS, 'segment', 3, 40]];
function segmentsOf(from, to) {
  return SEGMENTS.map(([name, kind, p95, perMinute], i) => ({
    name, kind, count: Math.round(perMinute * (to - from) / MINUTE), errors: i === 1 ? 31 : 0, p50_ms: p95 * 0.4, p95_ms: p95, p99_ms: p95 * 1.9, max_ms: p95 * 6,
    points: series(from, to, MINUTE, (t) => wave(t, i, p95, p95 * 0.2, DEPLOYED, p95 * 0.3)).map(([t, v]) => [t, v * 0.4, v, v * 1.8, Math.round(perMinute * (0.8 + 0.4 * random(t + i)()))]),
  }));
}

const METRICS = [['process.cpu.utilization', '1', 0.31, 0.1], ['process.memory.usage', 'By', 412e6, 3e7], ['process.threads', '{thread}', 14, 2], ['process.open_file_descriptors', '{fd}', 61, 6], ['process.context_switches', '1/s', 800, 200],
  ['system.cpu.utilization', '1', 0.44, 0.1], ['system.memory.usage', 'By', 5.1e9, 2e8], ['lua.gc.count', '{collection}/s', 3, 1], ['queue.length', '{item}', 12, 9], [XSS, '1', 0.5, 0.2]];
function healthOf(from, to, src) {
  return METRICS.flatMap(([name, unit, base, swing], i) => SOURCES.slice(0, 2).filter((s) => !src || s.id === src).map((source) => ({
    name, unit, source: source.id, points: series(from, to, MINUTE, (t) => wave(t, i + source.id, base, swing, DEPLOYED, base * 0.2)).filter(([t]) => t < to - 25 * MINUTE || t > to - 19 * MINUTE).map(([t, v]) => [t, v, v * 0.9, v * 1.1]),
  })));
}

function errorsOf(from, to) {
  return [['payment refused', 'card declined by gateway (code 51)', 3], ['timeout', 'prices.internal did not answer in 500 ms', 1], [XSS, XSS, 0.2]].map(([group, message, rate], i) => {
    const points = series(from, to, MINUTE, (t) => Math.round(wave(t, i, rate, rate)));
    return {group, message, count: points.reduce((n, p) => n + p[1], 0), points, first_ms: from + HOUR / 10, last_ms: to - 20_000};
  });
}

const APPS = [{app: 'shop', env: 'production', firing: 2}, {app: 'shop', env: 'staging', firing: 0}, {app: 'si-dashboard', env: 'self', firing: 0}, {app: XSS, env: XSS, firing: 0}];

function routes(state) {
  const on = {};
  on['GET /session'] = () => ({setup_needed: state.setupNeeded, user: state.user, csrf: 'token-of-the-mock', version: '0.1.0'});
  const enter = (name) => () => {
    state.setupNeeded = false;
    state.user = {id: 1, name, email: 'ada@example.org', role: 'admin'};
    return on['GET /session']();
  };
  on['POST /setup'] = enter('Ada');
  on['POST /sign-in'] = (query, body) => body.password === 'wrong password' ? {status: 401, error: {code: 'wrong', message: 'E-mail or password is wrong.'}} : enter('Ada')();
  on['POST /sign-in-link'] = enter('Ada');
  on['POST /invite'] = enter('Ada');
  on['POST /sign-out'] = () => { state.user = null; return undefined; };
  on['DELETE /apps'] = (query) => {
    if (query.get('confirm') !== query.get('app')) return {status: 400, error: {code: 'not_confirmed', message: 'Give its name again.', field: 'confirm'}};
    state.deletedApps.push(`${query.get('app')}, ${query.get('env')}`);
    return undefined;
  };
  on['GET /apps'] = () => ({apps: state.fresh ? [] : APPS.filter((one) => !state.deletedApps.includes(`${one.app}, ${one.env}`)).map((app, i) => ({...app, sources: 3 - i % 2, last_seen_ms: Date.now() - i * 9 * MINUTE, types: TYPES_SENT, cpu: i === 3 ? null : {last: 0.42 / (i + 1), points: series(Date.now() - HOUR, Date.now(), MINUTE, (t) => wave(t, i, 0.3 / (i + 1), 0.08))}}))});
  on['GET /sources'] = () => ({sources: state.fresh ? [] : SOURCES});
  on['GET /overview'] = (query) => {
    const from = Number(query.get('from'));
    const to = Number(query.get('to'));
    if (state.fresh) return {types: [], segments: [], errors: {count: 0, points: []}, movers: [], alerts: [], annotations: [], health: []};
    const errors = errorsOf(from, to);
    return {
      types: TYPES_SENT.map((type, i) => {
        const scale = type === 'cpu' ? 1 : UNITS[type] ? 6e8 : 8e8;
        return {type, unit: UNITS[type] ?? 'ns', last: 0.46 * scale, avg: 0.31 * scale, points: series(from, to, MINUTE, (t) => scale * wave(t, i + 1, 0.24, 0.07, DEPLOYED, i % 2 ? 0.05 : 0.22))};
      }),
      segments: segmentsOf(from, to).map(({name, kind, p95_ms, count}) => ({name, kind, p95_ms, count})), errors: {count: errors[0].count, points: errors[0].points},
      movers: [{type: 'cpu', function: 'price_rank', module: '/srv/shop/bin/shop', before: 0.12, after: 0.41}, {type: 'cpu', function: 'sqlite3VdbeExec', module: 'libsqlite3.so.0', before: 0.2, after: 0.11}, {type: 'cpu', function: XSS, module: XSS, before: 0, after: 0.02}],
      alerts: alerts({...state, wanted: 'firing'}), annotations: [{time_ms: DEPLOYED, kind: 'deploy', text: '1.4.2'}],
      health: METRICS.slice(0, 8).map(([name, unit, base, swing], i) => ({name, unit, last: base, points: series(from, to, MINUTE, (t) => wave(t, i, base, swing))})),
    };
  };
  on['GET /profiles'] = (query) => ({type: query.get('type'), unit: UNITS[query.get('type')] ?? 'ns', points: state.fresh || query.get('type') === 'channel' ? [] : profilePoints(query).map((p) => ({...p, value: UNITS[query.get('type')] ? p.value * 6e8 : query.get('type') === 'cpu' ? p.value : p.total})), truncated: false});
  on['GET /profiles/tree'] = (query) => profileTree(query, state.treeSize);
  on['GET /profiles/trend'] = (query) => ({points: series(Number(query.get('from')), Number(query.get('to')), 20 * MINUTE, (t) => wave(t, 5, 0.2, 0.05))});
  on['GET /profiles/export'] = () => 'main;handle_request 1000\n';
  on['GET /segments'] = (query) => ({segments: state.fresh ? [] : segmentsOf(Number(query.get('from')), Number(query.get('to')))});
  on['GET /errors'] = (query) => ({groups: state.fresh ? [] : errorsOf(Number(query.get('from')), Number(query.get('to')))});
  on['GET /errors/tree'] = (query) => {
    const {frames, nodes} = treeFor('errors', 30, 1);
    const counts = nodes.map(([parent, frame, , samples]) => [parent, frame, samples, samples]);
    return {type: 'error', unit: 'count', profiles: 1, samples: sum(counts, 3), total: sum(counts, 2), duration_ms: HOUR, cores: 1, start_ms: Number(query.get('from')), end_ms: Number(query.get('to')), context: {}, frames, nodes: counts, hidden: {nodes: 0, value: 0}};
  };
  on['GET /health'] = (query) => ({metrics: state.fresh ? [] : healthOf(Number(query.get('from')), Number(query.get('to')), Number(query.get('src')))});
  on['GET /alerts'] = (query) => ({alerts: state.fresh ? [] : alerts({...state, wanted: query.get('state')})});
  on['GET /silences'] = () => ({silences: state.silences});
  on['POST /silences'] = (query, body) => { state.silences.push({id: state.silences.length + 1, created_by: 'Ada', ...body}); return {silence: state.silences.at(-1)}; };
  on['GET /rules'] = () => ({hash: '5be1c0aa77d2', dashboard: {hash: '7230fba96334', error: '', series: 346, rules: state.fresh ? [] : [{name: 'agent_down', file: 'rules/agent_down.lua', line: 5, severity: 'critical', state: 'firing', error: '', alerts: 2, evaluations: 66, cost_ns: 293_427}, {name: XSS, file: XSS, line: 1, severity: XSS, state: XSS, error: XSS, alerts: 0, evaluations: 0, cost_ns: 0}]}, rules: state.fresh ? [] : ['cpu_high', 'memory_growth', 'error_rate', 'hotspot_growth', XSS].map((name, i) => ({source: 1, host: i === 4 ? XSS : 'shop-1', name, file: `rules/${i < 2 ? 'health' : 'hotspots'}.lua`, state: i === 0 ? 'firing' : 'inactive', error: i === 3 ? `rules/hotspots.lua:14: attempt to index a nil value (${XSS})` : '', evaluations: 1440, cost_ns: 31_000_000}))});
  on['GET /annotations'] = () => ({annotations: state.fresh ? [] : [{time_ms: DEPLOYED, kind: 'deploy', text: '1.4.2'}, ...state.marks]});
  on['GET /versions'] = () => ({versions: state.fresh ? [] : [{version: '1.4.2', first_seen_ms: DEPLOYED, last_seen_ms: Date.now(), sources: 2}, {version: XSS, first_seen_ms: DEPLOYED - 9 * HOUR, last_seen_ms: DEPLOYED, sources: 1}, {version: '1.4.1', first_seen_ms: STARTED - 26 * HOUR, last_seen_ms: DEPLOYED, sources: 2}]});
  on['GET /bottlenecks'] = (query) => {
    const wanted = query.get('kind') === 'database' ? ['sql', 'cache', 'document'] : [query.get('kind')];
    const from = Number(query.get('from'));
    const to = Number(query.get('to'));
    const calls = state.fresh ? [] : segmentsOf(from, to).concat({...segmentsOf(from, to)[1], name: XSS}).filter((s) => wanted.includes(s.kind));
    return {kind: query.get('kind'), calls: calls.map((s, i) => ({...s, rate: s.count / (to - from) * 1000, total_ms: s.count * s.p50_ms, tree: i === 0, points: s.points.map((p) => [...p, i])})), hidden: {calls: 0, total_ms: 0, share: 0}};
  };
  on['GET /bottlenecks/tree'] = (query) => ({...profileTree(new URLSearchParams({type: 'http_handler', from: query.get('from'), to: query.get('to')}), 60)});
  on['GET /collectors'] = () => ({collectors: state.fresh ? [] : [{name: 'cpu', sources: {on: 2}, reasons: [{state: 'on', reason: '99 Hz on 12 threads', sources: [1, 2]}]}, {name: 'channel', sources: {unavailable: 2}, reasons: [{state: 'unavailable', reason: `the program is linked static ${XSS}`, sources: [1, 2]}]}, {name: 'lua_vm', sources: {off: 1, on: 1}, reasons: [{state: 'off', reason: 'no Lua state is attached', sources: [2]}]}]});
  on['GET /deliveries'] = () => ({deliveries: state.fresh ? [] : [{id: 2, alert: 1, rule: 'cpu_high', subject: XSS, app: 'shop', env: 'production', about: 'firing', destination: 'slack:ops', state: 'sent', error: '', attempts: 1, time_ms: STARTED - 6 * MINUTE}, {id: 1, alert: 2, rule: XSS, subject: '', app: XSS, env: XSS, about: 'resolved', destination: XSS, state: 'failed', error: XSS, attempts: 4, time_ms: STARTED - 9 * MINUTE}]});
  on['GET /channels'] = () => ({configured: !state.fresh, error: '', channels: state.fresh ? [] : [{name: 'default', kind: 'alias', target: '', to: ['slack:ops'], state: 'ready', sent: 0, failed: 0, last_sent_ms: null, last_error: '', last_error_ms: null, test: null}, {name: 'slack:ops', kind: 'slack', target: 'hooks.slack.com', state: 'ready', sent: 31, failed: 0, last_sent_ms: STARTED, last_error: '', last_error_ms: null, test: state.tested ? {state: 'sent', error: '', time_ms: Date.now()} : null}, {name: 'webhook:' + XSS, kind: 'webhook', target: XSS, state: 'failing', sent: 2, failed: 7, last_sent_ms: STARTED - HOUR, last_error: XSS, last_error_ms: STARTED, test: null}]});
  on['POST /channels/test'] = (query, body) => { state.tested = body.name; return {name: body.name}; };
  on['GET /settings/retention'] = () => ({retention_ms: state.retentionDays * 86_400_000, max_bytes: 0, default_retention_ms: 30 * 86_400_000, used_bytes: 812e6, oldest_ms: STARTED - 26 * HOUR, by: 'settings'});
  on['POST /settings/retention'] = (query, body) => { state.retentionDays = body.retention_days; return on['GET /settings/retention'](); };
  on['GET /sessions'] = () => ({sessions: [{id: 1, user: 'Ada', email: 'ada@example.org', created_ms: STARTED - HOUR, used_ms: STARTED, address: '127.0.0.1', current: true}, {id: 2, user: XSS, email: XSS, created_ms: STARTED - HOUR, used_ms: STARTED - HOUR, address: XSS, current: false}]});
  on['POST /password'] = (query, body) => body.current === 'wrong password' ? {status: 403, error: {code: 'password', message: 'The current password is wrong.'}} : undefined;
  on['GET /invitations'] = () => ({invitations: [{id: 1, email: XSS + '@example.org', role: 'viewer', expires_ms: STARTED + 7 * 24 * HOUR}]});
  on['GET /snapshots'] = () => ({snapshots: state.fresh ? [] : state.snapshots});
  on['POST /snapshots'] = (query, body) => {
    const made = {id: `s${state.snapshots.length + 1}`, title: body.title, path: body.path, app: query.get('app'), env: query.get('env'), type: query.get('type'), created_ms: Date.now(), author: 'Ada', bytes: 9000, query: query.toString()};
    state.snapshots.push(made);
    return {id: made.id, url: '/s/' + made.id};
  };
  on['GET /self'] = () => ({version: '0.1.0', uptime_s: 86_400, ingest: {stored: 18_211, duplicates: 4, refused: 0, profiles: 70_321, bytes: 3e8, reports_per_second: 1.7}, writer: {queued: 0, commits: 9000, writes: 18_211, failures: 0, last_commit_ms: 3}, store: {used_bytes: 812e6, free_bytes: 4e10, retention_ms: 30 * 86_400_000}, connections: 14, requests: 99_121,
    tables: [{name: 'profile', rows: 70_321, bytes: 6e8}, {name: 'node', rows: 912_000, bytes: 9e7}, {name: XSS, rows: 1, bytes: null}], slow_requests: [{path: '/api/v1/profiles/tree?app=' + XSS, ms: 412, time_ms: STARTED}]});
  on['GET /self/history'] = (query) => ({step_ms: MINUTE, fields: ['t', 'reports', 'profiles', 'duplicates', 'refused', 'bytes', 'queued_most', 'wait_most_ms', 'wait_mean_ms', 'commits', 'requests', 'store_bytes', 'rollups_due'],
    points: state.fresh ? [] : series(Number(query.get('from')), Number(query.get('to')), MINUTE, (t) => wave(t, 3, 120, 20)).map(([t, reports]) => [t, reports, reports * 8, 0, 0, reports * 1200, 12, 40, 11, 60, 300, 8e8, 2])});
  on['GET /search'] = (query) => ({functions: ['price_rank', 'compare_price', XSS].filter((f) => f.includes(query.get('q'))).map((fn) => ({function: fn, module: 'shop', file: 'search.c'})), segments: [{name: 'checkout', kind: 'segment'}].filter((one) => one.name.includes(query.get('q'))), errors: [], metrics: [], truncated: false});
  on['GET /profiles/source'] = (query) => query.get('file').endsWith('http.c') ? {status: 404, error: {code: 'no_source', message: 'This file was not given.'}}
    : {file: query.get('file'), path: 'src/search.c', origin: 'upload', version: '1.4.2', lines: Array.from({length: 300}, (_, i) => i === 129 ? `static int price_rank(const char *${XSS}) {` : `    /* line ${i + 1} */`), values: [[118, 6e9, 9e9, 700], [130, 3e10, 9e10, 9000]], self: 3.6e10, file_total: 9.9e10, unit: 'ns'};
  on['POST /profiles/import'] = (query) => ({status: 'stored', app: query.get('app'), env: query.get('env'), start_ms: STARTED, moved: false, profiles: [{type: 'cpu', unit: 'ns', total: 9e9, samples: 900, nodes: 120}], stacks: 120, cut_stacks: 2});
  on['POST /annotations'] = (query, body) => { state.marks.push({id: state.marks.length + 9, author: 'Ada', ...body}); return {id: 9}; };
  on['GET /users'] = () => ({users: [{id: 1, name: 'Ada', email: 'ada@example.org', role: 'admin'}, {id: 2, name: XSS, email: XSS + '@example.org', role: 'viewer'}]});
  on['POST /users'] = () => ({invite_url: '/invite?token=abc'});
  on['GET /keys'] = () => ({keys: state.keys});
  on['POST /keys'] = (query, body) => {
    const key = {id: state.keys.length + 1, ...body, created_ms: Date.now(), last_used_ms: null};
    state.keys.push(key);
    state.firstReportAt = Date.now() + 3000;
    return {...key, key: `si_${key.id}_3q2-7w8e9r_mock-secret`};
  };
  on['GET /first-report'] = () => ({received: Date.now() > (state.firstReportAt ?? Infinity), t: state.firstReportAt ?? null});
  on['GET /audit'] = () => ([{time_ms: STARTED - HOUR, user: 'ada@example.org', action: 'sign_in', target: '', address: '127.0.0.1'}, {time_ms: STARTED, user: XSS, action: 'key_create', target: XSS, address: '127.0.0.1'}]);
  return on;
}

const TYPES = {html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8', svg: 'image/svg+xml'};

async function sendFile(web, path, response) {
  const name = normalize(path).replace(/^([/\\.])+/, '');
  const wanted = name.startsWith('assets/') ? name : 'index.html';
  try {
    const contents = await readFile(join(web, wanted));
    response.writeHead(200, {'Content-Type': TYPES[wanted.split('.').pop()] ?? 'application/octet-stream', 'Content-Security-Policy': CSP, 'X-Content-Type-Options': 'nosniff'});
    response.end(contents);
  } catch {
    response.writeHead(404);
    response.end();
  }
}

function readBody(request) {
  return new Promise((resolve) => {
    let text = '';
    request.on('data', (part) => { text += part; });
    request.on('end', () => resolve(text && request.headers['content-type'] === 'application/json' ? JSON.parse(text) : {}));
  });
}

/** Starts a mock on a free port. Returns its address, its state (to look at and to change), and close(). */
export async function startMock({web, port = 0, setupNeeded = false, fresh = false, signedIn = true, treeSize = 430}) {
  const state = {setupNeeded, fresh, treeSize, user: signedIn && !setupNeeded ? {id: 1, name: 'Ada', email: 'ada@example.org', role: 'admin'} : null,
    retentionDays: 30, deletedApps: [], marks: [], snapshots: [{id: 's1', title: XSS, path: '/a/shop/production/profiles/cpu', app: XSS, env: XSS, type: 'cpu', created_ms: STARTED, author: XSS, bytes: 40_000, query: 'app=shop&env=production&type=cpu'}], acked: {}, silences: [{id: 1, match: {rule: 'cpu_high', host: XSS}, until_ms: Date.now() + HOUR, comment: XSS, created_by: XSS}], keys: [{id: 1, app: 'shop', environment: XSS, label: XSS, created_ms: STARTED, last_used_ms: STARTED}], edits: {}, requests: []};
  const on = routes(state);
  const server = createServer((request, response) => {
    void (async () => {
      const url = new URL(request.url, 'http://mock');
      if (!url.pathname.startsWith('/api/v1')) return sendFile(web, url.pathname, response);
      const path = url.pathname.slice('/api/v1'.length);
      state.requests.push(`${request.method} ${path}${url.search}`);
      const send = (status, body) => {
        response.writeHead(status, {'Content-Type': 'application/json', 'Cache-Control': 'no-store'});
        response.end(body === undefined ? '' : JSON.stringify(body));
      };
      const open = /^\/(session|setup|sign-in|sign-in-link|invite)$/.test(path);
      if (!open && !state.user) return send(401, {error: {code: 'signed_out', message: 'Sign in first.'}});
      if (request.method !== 'GET' && request.headers['x-csrf-token'] !== 'token-of-the-mock') return send(403, {error: {code: 'csrf', message: 'The token is missing.'}});
      const body = request.method === 'GET' ? {} : await readBody(request);
      const ack = /^\/alerts\/(\d+)\/ack$/.exec(path);
      if (ack && request.method === 'DELETE') {
        delete state.acked[ack[1]];
        return send(200, {alert: alerts(state).find((alert) => alert.id === Number(ack[1]))});
      }
      if (ack) {
        state.acked[ack[1]] = {acked_by: 'Ada', acked_ms: Date.now()};
        return send(200, {alert: alerts(state).find((alert) => alert.id === Number(ack[1]))});
      }
      const snapshot = /^\/snapshots\/(\w+)$/.exec(path);
      if (snapshot && request.method === 'GET') {
        const kept = state.snapshots.find((one) => one.id === snapshot[1]);
        return kept ? send(200, {...kept, profile: profileTree(new URLSearchParams(kept.query), state.treeSize)}) : send(404, {error: {code: 'not_found', message: 'There is no such snapshot.'}});
      }
      const removable = /^\/(snapshots|sessions|invitations|annotations)\/(\w+)$/.exec(path);
      if (removable && request.method === 'DELETE') {
        if (removable[1] === 'snapshots') state.snapshots = state.snapshots.filter((one) => one.id !== removable[2]);
        return send(204);
      }
      const silence = /^\/silences\/(\d+)$/.exec(path);
      if (silence && request.method === 'DELETE') {
        state.silences = state.silences.filter((s) => s.id !== Number(silence[1]));
        return send(204);
      }
      const handler = on[`${request.method} ${path}`];
      if (!handler) return send(404, {error: {code: 'not_found', message: `Nothing is at ${path}.`}});
      const plain = handler(url.searchParams, body);
      const answer = request.method === 'GET' ? state.edits[path]?.(plain) ?? plain : plain;
      return answer?.error && answer.status ? send(answer.status, {error: answer.error}) : send(answer === undefined ? 204 : 200, answer);
    })().catch((cause) => {
      response.writeHead(500, {'Content-Type': 'application/json'});
      response.end(JSON.stringify({error: {code: 'mock', message: String(cause)}}));
    });
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {url: `http://127.0.0.1:${server.address().port}`, state, close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); })};
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const option = (name, otherwise) => process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : otherwise;
  const mock = await startMock({web: option('--web', 'dashboard/web/dist'), port: Number(option('--port', 8687)), setupNeeded: option('--state') === 'setup', fresh: option('--state') === 'fresh', treeSize: Number(option('--big', 430))});
  console.log(`mock dashboard at ${mock.url}`);
}
