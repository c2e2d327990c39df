// The pages over the real si-dashboard, fed with reports that the agent's own encoder made: from the set-up link to revoked keys.
import assert from 'node:assert/strict';
import {mkdtemp, readFile, rm, writeFile} from 'node:fs/promises';
import {createRequire} from 'node:module';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, before, describe, it} from 'node:test';
import {accessibility, assertInert, openPage, settled, startBrowser, web} from './browser.mjs';
import {XSS} from './mock/data.mjs';
import {checkRules, ingest, madeReports, startDashboard} from './real_server.mjs';

const APP = '/a/shop/production/';
const MINUTE = 60_000;
const PERSON = {name: 'Ada', email: 'ada@example.org', password: 'a long enough password'};
const now = Date.now();
const deployed = now - 30 * MINUTE;

let browser;
let server;
let view;
let page;
let key;
let ready = false; // without the first minutes nothing that follows can be

before(async () => {
  browser = await startBrowser();
  server = await startDashboard(['--no-self']);
  view = await openPage(browser, {expectStatus: [401, 403, 404]});
  ({page} = view);
});
after(async () => {
  await browser?.close();
  assert.equal(await server?.stop(), 0, server?.complaints());
});

async function open(path, text) {
  assert.ok(ready, 'the first minutes failed');
  await page.goto(server.url + path);
  await settled(page);
  if (text) await page.getByText(text).first().waitFor();
}

const api = (path) => page.evaluate(async (given) => (await fetch('/api/v1' + given)).json(), path);
const here = `app=shop&env=production`;

describe('the first minutes', () => {
  it('the page is small, and allowed nothing that it does not need', async () => {
    const first = await fetch(server.url + '/');
    const policy = first.headers.get('content-security-policy');
    assert.match(policy, /script-src 'self'/);
    assert.ok(!/unsafe/.test(policy));
    let bytes = 0;
    const html = await first.text();
    for (const path of ['/', ...[...html.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)].map((m) => m[1])]) {
      const response = await fetch(server.url + path, {headers: {'Accept-Encoding': 'gzip'}});
      assert.equal(response.status, 200, path);
      bytes += Number(response.headers.get('content-length'));
    }
    assert.ok(bytes > 10_000 && bytes <= 100 * 1024, `${bytes} bytes`);
  });

  it('asks for the set-up link, which makes the first administrator', async () => {
    await page.goto(server.url + APP + 'overview');
    await page.getByText('Open the set-up link').waitFor();
    await page.goto(server.setup.replace(/token=.*/, 'token=0123456789abcdef0123456789abcdef'));
    await fillSetUp();
    await page.getByRole('alert').waitFor();
    await page.goto(server.setup);
    await fillSetUp();
    await page.getByRole('heading', {name: 'Applications'}).waitFor();
    await page.getByRole('heading', {name: 'No application reports yet'}).waitFor();
  });

  async function fillSetUp() {
    await page.getByLabel('Your name').fill(PERSON.name);
    await page.getByLabel('E-mail').fill(PERSON.email);
    await page.getByLabel('Password').fill(PERSON.password);
    await page.getByRole('button', {name: 'Create the administrator'}).click();
  }

  it('adds an application, and sees its first report arrive', async () => {
    await page.getByRole('link', {name: 'Add an application'}).first().click();
    await page.getByLabel('Application').fill('shop');
    await page.getByLabel('Environment').fill('production');
    await page.getByRole('button', {name: 'Create a key'}).click();
    await page.getByText('Waiting for the first report').waitFor();
    key = (await page.locator('code.tag').first().textContent()).trim();
    assert.match(key, /^si_/);
    assert.ok((await page.locator('.code pre').textContent()).includes(key));
    const reports = (host, version, minutes, until, heat) => madeReports({app: 'shop', env: 'production', host, version, minutes, now: until, heat});
    await ingest(server.url, key, await reports('shop-1', '1.4.1', 150, deployed, 100));
    await page.getByText('First report received').waitFor();
    await ingest(server.url, key, await reports('shop-1', '1.4.2', 29, now, 260));
    await ingest(server.url, key, await reports(XSS, '1.4.1', 45, now, 100));
    await page.getByRole('link', {name: 'Open shop'}).click();
    await page.waitForURL(/\/a\/shop\/production\/overview\?range=5m$/);
    await page.goto(server.url + APP + 'overview'); // what was sent is up to an hour old
    await page.getByText('price_rank').first().waitFor();
    assert.deepEqual(view.wrong, []);
    ready = true;
  });
});

describe('every page over real data', () => {
  const pages = {
    '/': 'shop', [APP + 'overview']: 'Heaviest segments', [APP + 'profiles/cpu']: 'handle_request', [APP + 'profiles/cpu?view=flame']: 'of the profile', [APP + 'profiles/cpu?view=top']: 'compare_price',
    [APP + 'profiles/cpu?view=sandwich']: 'Callers of', [APP + 'profiles/heap']: 'keep_receipt', [APP + 'profiles/alloc']: 'render_page', [APP + 'profiles/network']: 'ask_prices', [APP + 'profiles/system']: 'fsync',
    [APP + 'profiles/lock']: 'pthread_mutex_lock', [APP + 'profiles/channel']: 'the program is linked static', [APP + 'bottlenecks/http_handler']: 'GET /search', [APP + 'bottlenecks/http_client']: 'prices.internal',
    [APP + 'bottlenecks/database']: 'SELECT FROM orders', [APP + 'segments']: 'checkout', [APP + 'errors']: 'payment refused', [APP + 'health']: 'process.cpu.utilization', '/alerts': 'CPU above 85 %',
    '/alerts?state=log': 'cpu_high', '/rules': 'agent_down', '/sources': 'the ring was full', '/silences': 'Nothing is silenced', '/snapshots': 'Nothing was kept yet', '/import': 'Drop a pprof file', '/self': 'What the store holds',
    '/settings/team': PERSON.email, '/settings/keys': 'production', '/settings/channels': 'Nobody is told yet', '/settings/retention': '30 days', '/settings/sessions': 'this one', '/settings/audit': PERSON.email,
  };
  for (const [path, text] of Object.entries(pages)) {
    it(path, async () => {
      view.wrong.length = 0;
      await open(path, text);
      await assertInert(page);
      assert.deepEqual(view.wrong, []); // what axe-core finds on these pages, pages.test.mjs asks
    });
  }

  it('an application that never reported says so, and leads to its snippets', async () => {
    await server.makeKey('idle', 'production');
    await open('/a/idle/production/overview', 'No agent has reported yet');
    await page.getByRole('link', {name: 'How to start it observed'}).click();
    await page.waitForURL(/\/add\?app=idle&env=production$/);
    assert.equal(await page.getByLabel('Application').inputValue(), 'idle');
  });

  it('a range after the last report leads back to it', async () => {
    const later = now + 90 * MINUTE;
    await open(`${APP}health?from=${later}&to=${later + MINUTE}`, 'No metrics in this time range');
    await page.getByRole('link', {name: 'Show its last hour'}).click();
    await page.getByText('process.cpu.utilization').first().waitFor();
  });

  it('the side bar knows which types were sent', async () => {
    await open(APP + 'overview');
    const sent = await api('/apps');
    assert.ok(sent.apps.find((a) => a.app === 'shop').types.includes('heap'));
    await page.getByRole('navigation', {name: 'Pages'}).getByRole('link', {name: /^Memory$/}).waitFor();
    await page.getByRole('navigation', {name: 'Pages'}).getByRole('link', {name: /^Channel waits\s*, nothing sent today$/}).waitFor();
  });

  it('rules: the dashboard’s own, and those of its agents, one row a rule', async () => {
    await open('/rules?app=shop&env=production');
    const own = page.getByRole('region', {name: 'Rules at the dashboard'});
    await own.getByRole('row', {name: /^agent_down/}).getByText('critical').waitFor();
    const row = page.getByRole('region', {name: 'Rules at the agents'}).getByRole('row', {name: /cpu_high/});
    assert.equal(await row.count(), 1); // of several processes
    await row.getByRole('button', {name: /^\d agents with cpu_high$/}).click();
    await row.getByRole('link', {name: XSS}).waitFor();
    await assertInert(page);
    await row.getByRole('link', {name: 'cpu_high'}).click();
    await page.waitForURL(/\/alerts\?.*q=cpu_high/);
    await page.getByText('CPU above 85 %').first().waitFor();
  });

  it('an alert has a link of its own', async () => {
    await open('/alerts', 'CPU above 85 %');
    await page.getByRole('button', {name: /Details of CPU above/}).first().click();
    await page.getByText('The rule saw').waitFor();
    const id = new URL(page.url()).searchParams.get('alert');
    await open(`/alerts?state=history&alert=${id}`, 'The rule saw');
  });

  it('hostile names arrive as text', async () => {
    for (const path of ['segments', 'bottlenecks/http_handler', 'errors', 'health', 'profiles/cpu?view=top&q=onerror', 'profiles/heap', 'profiles/channel']) await open(APP + path, XSS);
    for (const path of ['/alerts', '/rules', '/sources']) await open(path, XSS);
    assert.equal(await page.locator('a[href^="javascript"]').count(), 0);
  });
});

describe('what a page asks for', () => {
  for (const path of ['overview', 'profiles/cpu', 'bottlenecks/http_handler']) {
    it(`${path}: everything at once, nothing twice`, async () => {
      assert.ok(ready, 'the first minutes failed');
      const asked = [];
      const note = (request) => { if (request.url().includes('/api/v1/')) asked.push(request.url().replace(server.url, '')); };
      page.on('request', note);
      await open(`${APP}${path}?from=${now - 60 * MINUTE}&to=${now}`); // stands still: nothing is asked again while this looks
      page.off('request', note);
      assert.equal(new Set(asked).size, asked.length, asked.join('\n'));
      const early = await page.evaluate(() => window.siEarly.answers.size);
      assert.equal(early, 0, 'what was asked for early was used');
      assert.ok(asked.length >= 4);
    });
  }

  it('nothing but the session before anybody has signed in', async () => {
    const stranger = await openPage(browser, {});
    const asked = [];
    stranger.page.on('request', (request) => { if (request.url().includes('/api/v1/')) asked.push(new URL(request.url()).pathname); });
    await stranger.page.goto(server.url + APP + 'overview');
    await stranger.page.getByRole('heading', {name: 'Sign in'}).waitFor();
    assert.deepEqual(asked, ['/api/v1/session']);
    assert.deepEqual(stranger.wrong, []);
    await stranger.close();
  });
});

describe('profiles', () => {
  it('a point of the history opens that profile, with its numbers', async () => {
    await open(APP + 'profiles/cpu', 'profiles merged');
    const box = await page.locator('.chart .u-over').first().boundingBox();
    await page.mouse.click(box.x + box.width * 0.9, box.y + box.height * 0.3);
    await page.getByText('Profile of').first().waitFor();
    const id = Number(new URL(page.url()).searchParams.get('at'));
    const history = await api(`/profiles?${here}&type=cpu&from=${now - 60 * MINUTE}&to=${now}`);
    const point = history.points.find((p) => p.id === id);
    assert.ok(point, 'the chosen profile is one of the history');
    const share = (point.value * 100).toFixed(1);
    await page.locator('.trow', {hasText: 'all'}).first().getByText(`${share} %`).waitFor();
    await page.locator('.profile-facts').getByText(point.app_version).first().waitFor();
    const tree = await api(`/profiles/tree?${here}&type=cpu&at=${id}`);
    assert.equal(tree.nodes.reduce((sum, node) => sum + node[2], 0), tree.total, 'self values add up to the total');
    assert.equal(tree.total, point.total);
  });

  it('the context of a profile is shown', async () => {
    await page.getByRole('button', {name: 'Context'}).click();
    await page.getByText('runtime_version=glibc 2.36').waitFor();
  });

  it('comparing two versions finds what grew, and leaves the rest alone', async () => {
    await open(`${APP}profiles/cpu?at=${deployed + 2 * MINUTE}-${now}&base=${deployed - 60 * MINUTE}-${deployed}&view=top`, 'Compared with');
    const row = (name) => page.getByRole('row', {name: new RegExp(name)});
    await row('compare_price').getByText('▲').waitFor();
    await row('\\[libblob').getByText(/same|▼/).waitFor();
    const first = await page.locator('tbody tr').first().textContent();
    assert.match(first, /price_rank|compare_price|route_search/);
  });

  it('a new version draws a mark by itself', async () => {
    const {annotations} = await api(`/annotations?${here}&from=${now - 60 * MINUTE}&to=${now}`);
    assert.ok(annotations.some((a) => a.kind === 'deploy' && a.text.includes('1.4.2') && Math.abs(a.time_ms - deployed) < 3 * MINUTE));
  });

  it('one source alone can be chosen', async () => {
    await open(APP + 'profiles/cpu', 'profiles merged');
    const all = await page.locator('.profile-facts b').first().textContent();
    await page.getByRole('button', {name: /^Source/}).click();
    await page.getByRole('button', {name: /shop-1/}).click();
    await page.waitForFunction((old) => document.querySelector('.profile-facts b') && document.querySelector('.profile-facts b').textContent !== old, all);
    assert.match(page.url(), /src=\d+/);
  });

  it('memory is told as what is in use, waits as time per second', async () => {
    await open(`${APP}profiles/heap?from=${now - 60 * MINUTE}&to=${now}`, 'keep_receipt');
    const heap = await api(`/profiles/tree?${here}&type=heap&from=${now - 60 * MINUTE}&to=${now}`);
    const shown = await page.locator('.profile-facts b').nth(1).textContent();
    assert.match(shown, /^\d+(\.\d+)? MiB$/);
    assert.ok(Math.abs(parseFloat(shown) - heap.total / 2 ** 20) < 1, `${shown} of ${heap.total}`);
    await open(APP + 'profiles/lock', 'pthread_mutex_lock');
    assert.equal(await page.locator('.profile-facts b').nth(1).textContent(), '120 ms/s'); // 1.2 s in 10 s
  });

  it('two sources are compared: the hotter one stands out', async () => {
    const {sources} = await api(`/sources?${here}`);
    const id = (host) => sources.find((s) => s.host === host).id;
    await open(`${APP}profiles/cpu?src=${id('shop-1')}&base=src:${id(XSS)}&from=${deployed + 2 * MINUTE}&to=${now}&view=top`, 'Compared with source');
    await page.getByRole('row', {name: /compare_price/}).getByText('▲').waitFor();
    await page.getByRole('row', {name: /sqlite3VdbeExec/}).getByText(/same/).waitFor();
  });

  it('versions are compared from the menu', async () => {
    await open(APP + 'profiles/cpu?view=top', 'profiles merged');
    await page.getByRole('button', {name: 'Compare', exact: true}).click();
    await page.getByRole('button', {name: '1.4.1'}).click();
    await page.getByText(/Compared with version 1\.4\.1/).waitFor();
    await page.getByRole('row', {name: /compare_price/}).getByText('▲').waitFor();
  });

  it('a handler has the call tree of where its time goes', async () => {
    await open(APP + 'bottlenecks/http_handler?name=GET+%2Fsearch', 'GET /search');
    const grid = page.getByRole('treegrid', {name: 'Where GET /search waits'});
    await grid.locator('.trow', {hasText: 'recv'}).first().waitFor();
    assert.match(await grid.locator('.trow', {hasText: 'route_search'}).first().textContent(), /97\.9 %/); // 14 s of 14.3 s
  });

  it('every call path has its calls and percentiles, and says when they are too few', async () => {
    await open(APP + 'bottlenecks/http_handler?name=GET+%2Fsearch', 'GET /search');
    const grid = page.getByRole('treegrid', {name: 'Where GET /search waits'});
    const cells = async (text) => {
      const row = grid.locator('.trow', {hasText: text}).first();
      await row.waitFor();
      return row.getByRole('gridcell').allTextContents();
    };
    assert.deepEqual(await grid.getByRole('columnheader').allTextContents(), ['Call', 'Share', 'Time', 'Calls', 'p50', 'p95', 'p99']);
    const within = (text, ms) => assert.ok(Math.abs(parseFloat(text) / ms - 1) < 0.012 && text.endsWith(' ms'), `${text} for ${ms} ms`);
    const recv = await cells('recv');
    within(recv[4], 50);
    within(recv[5], 150);
    const search = await cells('route_search'); // all of recv and of sqlite3_step: 9 in 10 took 50 or 40 ms, 1 in 16 150 ms
    within(search[5], 150);
    within(search[4], 50);
    await grid.focus();
    await page.keyboard.press('Home');
    await page.keyboard.press('*');
    const few = await cells('nanosleep');
    assert.match(few[5], /^≈ /);
    const title = await grid.locator('.trow', {hasText: 'nanosleep'}).first().getByRole('gridcell').nth(5).locator('span').getAttribute('title');
    assert.match(title, /samples; too few: a p95 takes 20 samples, .*; of [0-9.]+ % of the calls/);
    assert.match(await grid.locator('.trow').first().getByRole('gridcell').nth(3).locator('span').getAttribute('title'), /^Counted exactly$/);
  });

  it('a call leads to a rule that the agent would load', async () => {
    await open(APP + 'profiles/cpu', 'price_rank');
    await page.locator('.trow .fn', {hasText: 'price_rank'}).first().click();
    await page.getByRole('button', {name: 'Alert on this call'}).click();
    await checkRule(await page.getByRole('dialog', {name: 'Alert on this call'}).locator('pre').textContent());
    await open(APP + 'profiles/heap?q=onerror', XSS);
    await page.locator('.trow .fn', {hasText: '<img'}).first().click();
    await page.getByRole('button', {name: 'Alert on this call'}).click();
    await checkRule(await page.getByRole('dialog', {name: 'Alert on this call'}).locator('pre').textContent());
  });

  it('a source file that was sent is shown with what its lines cost', async () => {
    const lines = Array.from({length: 200}, (_, i) => i === 129 ? 'int price_rank(void) {' : `/* ${i + 1} */`).join('\n');
    const sent = await fetch(`${server.url}/api/v1/source-files?app=shop&env=production&version=1.4.2&path=src/search.c`, {method: 'POST', headers: {Authorization: `Bearer ${key}`, 'Content-Type': 'text/plain'}, body: lines});
    assert.equal(sent.status, 201, await sent.text());
    await open(APP + 'profiles/cpu', 'price_rank');
    await page.locator('.trow .fn', {hasText: 'price_rank'}).first().click();
    await page.getByRole('button', {name: 'Source', exact: true}).click();
    const hot = page.locator('.source-lines tr.here');
    await hot.getByText('int price_rank(void) {').waitFor();
    assert.match(await hot.textContent(), /\d %/);
    assert.deepEqual(await accessibility(page), []);
  });

  it('every type and the nastiest names lead to rules that the agent loads, one file each in one directory', async () => {
    const rules = await rulesOfNastyCalls();
    assert.equal(new Set(rules.map((rule) => rule.file)).size, rules.length, 'each rule has a name of its own');
    const dir = await mkdtemp(join(tmpdir(), 'si-web-rules-'));
    try {
      for (const {file, text} of rules) await writeFile(join(dir, file), text);
      await checkRules(dir);
    } finally {
      await rm(dir, {recursive: true, force: true});
    }
  });

  it('a snapshot shows the same numbers under its own link', async () => {
    await open(APP + 'profiles/cpu?view=flame', 'of the profile');
    await page.getByRole('button', {name: 'Snapshot'}).click();
    await page.getByLabel('Title').fill(XSS);
    await page.getByRole('button', {name: 'Keep it'}).click();
    await page.getByRole('link', {name: 'Open it'}).click();
    await page.waitForURL(/\/s\/[^/]+$/);
    await page.getByText('kept by').waitFor();
    await page.locator('.trow', {hasText: 'price_rank'}).first().waitFor();
    await assertInert(page);
    assert.deepEqual(await accessibility(page), []);
    const {snapshots} = await api('/snapshots');
    assert.equal(snapshots[0].title, XSS);
    const kept = await api(`/snapshots/${snapshots[0].id}`);
    const shown = Number((await page.locator('.profile-facts').first().textContent()).match(/in ([\d\s\u202f.]+)(?: k)? samples/)[1].replace(/[\s\u202f]/g, ''));
    assert.equal(shown, kept.profile.samples);
    await open('/snapshots', XSS);
    await assertInert(page);
  });

  it('a pprof file comes back as an application of its own', async () => {
    const file = await page.evaluate(async (path) => [...new Uint8Array(await (await fetch('/api/v1' + path)).arrayBuffer())], `/profiles/export?${here}&type=cpu&from=${now - 60 * MINUTE}&to=${now}&format=pprof`);
    await open('/import', 'Drop a pprof file');
    await page.getByLabel('pprof file').setInputFiles({name: 'shop.pb.gz', mimeType: 'application/gzip', buffer: Buffer.from(file)});
    await page.getByLabel('Application').fill('imported');
    await page.getByRole('button', {name: 'Open it'}).click();
    await page.getByText('The file is here').waitFor();
    await page.getByRole('link', {name: /in [\d.\s\u202f]+(k )?samples?/}).first().click();
    await page.waitForURL(/\/a\/imported\/files\/profiles\/[^/]+\?/);
    await page.getByRole('button', {name: 'Top functions'}).click();
    await page.getByRole('row', {name: /price_rank/}).waitFor();
  });

  it('exports what is shown', async () => {
    await open(APP + 'profiles/cpu', 'profiles merged');
    const folded = await download('Folded stacks');
    assert.match(folded.toString(), /^start_thread;handle_request;route_search;price_rank \d+$/m);
    const pprof = await download('pprof');
    assert.deepEqual([...pprof.subarray(0, 2)], [0x1f, 0x8b], 'gzip');
    const speedscope = JSON.parse((await download('speedscope')).toString());
    assert.ok(speedscope.shared.frames.some((frame) => frame.name === 'price_rank'));
  });

  async function checkRule(text) {
    const dir = await mkdtemp(join(tmpdir(), 'si-web-rule-'));
    try {
      await writeFile(join(dir, 'call.lua'), text);
      await checkRules(dir);
    } finally {
      await rm(dir, {recursive: true, force: true});
    }
  }

  async function download(name) {
    await page.getByRole('button', {name: 'Export'}).click();
    const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', {name}).click()]);
    return readFile(await file.path());
  }
});

/* What "Alert on this call" writes for names that mean something to Lua, to format strings, to paths, or that are cut. */
async function rulesOfNastyCalls() {
  const esbuild = createRequire(join(web, 'package.json'))('esbuild');
  const built = await esbuild.build({entryPoints: [join(web, 'src/profile/alert_rule.ts')], bundle: true, write: false, format: 'esm', platform: 'neutral', logLevel: 'error'});
  const {alertRule, ruleName} = await import('data:text/javascript;base64,' + Buffer.from(built.outputFiles[0].contents).toString('base64'));
  const names = [XSS, 'operator""_x(char const*)', 'a\\b"c', ']]--[[ os.exit() ]=]', '%s%d%%n', 'line\nbreak\r\0zero9', 'std::map<a, b>::operator[](a&&)', 'f(int)', 'f(long)', '', '中'.repeat(50), 'é' + 'x'.repeat(118) + '漢', '-- end', '${js}`', '9lives', 'end', 'x'.repeat(5000)];
  return ['cpu', 'heap', 'lock', 'network', 'system', 'channel'].flatMap((type) => names.map((name, i) => {
    const frame = [name, 'a.c', 1, i % 2 ? 'lib"x\\.so' : ''];
    return {file: `${ruleName(type, frame)}.lua`, text: alertRule(type, frame, [0, 0.004, 12.5, 3e9, NaN][i % 5])};
  }));
}

describe('errors, segments and alerts', () => {
  it('a group of errors shows its stacks with counts', async () => {
    await open(APP + 'errors', 'payment refused');
    await page.getByRole('link', {name: 'payment refused'}).click();
    await page.locator('.trow', {hasText: 'charge_card'}).getByText(/\d errors/).waitFor();
  });

  it('percentiles of a segment are those of its sketch', async () => {
    const {segments} = await api(`/segments?${here}&from=${now - 60 * MINUTE}&to=${now}`);
    const checkout = segments.find((s) => s.name === 'checkout');
    assert.ok(checkout.p50_ms > 36 && checkout.p50_ms < 44, `p50 ${checkout.p50_ms}`);
    assert.ok(checkout.p95_ms > 55 && checkout.p95_ms < 63, `p95 ${checkout.p95_ms}`);
    await open(APP + 'segments?name=checkout', 'checkout');
    await page.getByRole('row', {name: /checkout/}).getByText(/^5\d|6\d/).first().waitFor();
  });

  it('an alert is acknowledged, and stays so', async () => {
    await open('/alerts', 'CPU above 85 %');
    await page.getByRole('button', {name: /Details of CPU above/}).first().click();
    await page.getByLabel('Comment').fill('known');
    await page.getByRole('button', {name: 'Acknowledge'}).click();
    await page.getByText(/seen by/).first().waitFor();
    await page.reload();
    await page.getByText(/seen by/).first().waitFor();
  });

  it('a silence is made and ended', async () => {
    await page.getByText('The rule saw').waitFor(); // still open: it is in the address
    await page.getByRole('button', {name: '1 hour'}).click();
    await page.getByText('silenced', {exact: true}).first().waitFor();
    await page.getByRole('link', {name: 'Silences'}).click();
    await page.getByText('rule=cpu_high').waitFor();
    await page.getByRole('button', {name: 'End'}).click();
    await page.getByRole('heading', {name: 'Nothing is silenced'}).waitFor();
  });
});

describe('people and keys', () => {
  it('an invited viewer sees everything and changes nothing', async () => {
    await open('/settings/team');
    await page.getByLabel('E-mail').fill('bob@example.org');
    await page.getByRole('button', {name: 'Make an invitation'}).click();
    const link = await page.getByRole('status').locator('code').textContent();
    const guest = await openPage(browser, {expectStatus: [401, 403]});
    await guest.page.goto(link);
    await guest.page.getByLabel('Your name').fill(XSS);
    await guest.page.getByLabel('Password').fill('another long password');
    await guest.page.getByRole('button', {name: 'Join'}).click();
    await guest.page.getByRole('heading', {name: 'Applications'}).waitFor();
    await guest.page.goto(server.url + '/alerts');
    await guest.page.getByRole('button', {name: /Details of/}).first().click();
    assert.equal(await guest.page.getByRole('button', {name: 'Acknowledge'}).count(), 0);
    await guest.page.goto(server.url + '/add');
    await guest.page.getByText('You may look but not change').waitFor();
    await guest.page.goto(server.url + '/settings/team');
    await guest.page.getByRole('heading', {name: 'Only administrators change settings'}).waitFor();
    await assertInert(guest.page);
    assert.deepEqual(guest.wrong, []);
    await open('/settings/team', XSS);
    await page.getByRole('row', {name: /bob@example.org/}).getByRole('button', {name: 'Lock out'}).click();
    await page.getByText('locked out').waitFor();
    await guest.page.goto(server.url + '/');
    await guest.page.getByRole('heading', {name: 'Sign in'}).waitFor();
    await guest.close();
  });

  it('a revoked key is refused', async () => {
    await open('/settings/keys', 'production');
    await page.getByRole('button', {name: 'Rotate'}).first().click();
    await page.getByRole('dialog', {name: 'The new key'}).getByRole('button', {name: 'Close'}).click();
    await page.getByText('At most two keys of a place and purpose').waitFor();
    const rotate = page.getByRole('button', {name: 'Rotate'}).first();
    await rotate.and(page.locator('[disabled][title*="Two keys are live"]')).waitFor();
    await page.getByRole('row', {name: new RegExp(key.split('_').slice(0, 2).join('_'))}).getByRole('button', {name: 'Revoke'}).click();
    await page.getByRole('button', {name: 'Really revoke'}).click();
    await page.getByText('revoked').first().waitFor();
    const [report] = await madeReports({app: 'shop', env: 'production', host: 'late', version: '9', minutes: 1, now: Date.now()});
    await assert.rejects(ingest(server.url, key, [report]), /answered with 40[13]/);
    await open('/settings/audit', 'revoked');
  });

  it('a sign-in link from the terminal works once; a password works again and again', async () => {
    const link = await server.signInLink();
    const other = await openPage(browser, {expectStatus: [400, 401, 403, 404]});
    await other.page.goto(link);
    await other.page.getByRole('heading', {name: 'Applications'}).waitFor();
    await other.page.getByRole('button', {name: 'Sign out'}).click();
    await other.page.getByRole('heading', {name: 'Sign in'}).waitFor();
    await other.page.goto(link);
    await other.page.getByRole('alert').waitFor();
    await other.page.goto(server.url + APP + 'health');
    await other.page.getByLabel('E-mail').fill(PERSON.email);
    await other.page.getByLabel('Password').fill(PERSON.password);
    await other.page.keyboard.press('Enter');
    await other.page.waitForURL(/\/health$/);
    await other.page.getByText('process.cpu.utilization').first().waitFor();
    assert.deepEqual(other.wrong, []);
    await other.close();
  });
});
