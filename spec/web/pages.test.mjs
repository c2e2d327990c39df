// Every page over made-up data with hostile names: opens without an error, keeps names as text, passes axe-core, in light and dark
// and on a phone.
import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';
import {accessibility, assertInert, dist, noSidewaysScroll, openPage, settled, startBrowser} from './browser.mjs';
import {XSS} from './mock/data.mjs';
import {startMock} from './mock/server.mjs';

const APP = '/a/shop/production/';
const HOSTILE = `/a/${encodeURIComponent(XSS)}/${encodeURIComponent(XSS)}/`;
const hour = 3_600_000;
const base = () => `${Date.now() - 2 * hour}-${Date.now() - hour}`;
/* path, and what the page must say once its data is there */
const PAGES = {
  'applications': ['/', 'shop'],
  'add an application': ['/add?lang=c', 'si_runtime_open'],
  'overview': [APP + 'overview', 'price_rank'],
  'overview of a hostile application': [HOSTILE + 'overview', XSS],
  'call tree': [APP + 'profiles/cpu', 'handle_request'],
  'memory': [APP + 'profiles/heap', 'objects'],
  'lock waits as a flame graph': [APP + 'profiles/lock?view=flame', 'waits'],
  'a type that cannot be measured says why': [APP + 'profiles/channel', 'the program is linked static'],
  'call tree, focused, ignored, folded': [APP + `profiles/cpu?focus=${encodeURIComponent(XSS)}&ignore=${encodeURIComponent(XSS + ';memcpy')}&fold=libraries`, 'Show everything'],
  'compared with a hostile version': [APP + `profiles/cpu?base=${encodeURIComponent('version:' + XSS)}`, 'Compared with version <img'],
  'compared with another source': [APP + 'profiles/cpu?base=src:3', 'Compared with source <img'],
  'diff by its own address': [APP + 'profiles/cpu?view=diff', 'unchanged'],
  'a type that nobody has heard of': [APP + 'profiles/<b>lock', 'handle_request'],
  'call tree, searched': [APP + 'profiles/cpu?q=' + encodeURIComponent(XSS), XSS],
  'call tree, compared': [APP + 'profiles/cpu?base=' + base(), 'Compared with'],
  'flame graph': [APP + 'profiles/cpu?view=flame', 'of the profile'],
  'flame graph, compared': [APP + 'profiles/cpu?view=flame&base=' + base(), 'unchanged'],
  'top functions': [APP + 'profiles/cpu?view=top', 'price_rank'],
  'callers and callees': [APP + 'profiles/cpu?view=sandwich', 'Callers of'],
  'profile history as a table': [APP + 'profiles/cpu?table=1', 'cadence'],
  'segments': [APP + 'segments', XSS],
  'HTTP handlers': [APP + 'bottlenecks/http_handler', 'Where the time goes'],
  'a hostile handler': [APP + 'bottlenecks/http_handler?name=' + encodeURIComponent(XSS), 'No call tree'],
  'databases': [APP + 'bottlenecks/database', 'SELECT FROM orders'],
  'HTTP clients': [APP + 'bottlenecks/http_client', 'http://prices.internal'],
  'errors': [APP + 'errors', XSS],
  'errors of a hostile group': [APP + 'errors?group=' + encodeURIComponent(XSS), XSS],
  'health': [APP + 'health', XSS],
  'alerts': ['/alerts', XSS],
  'alert history': ['/alerts?state=history', 'Memory grows'],
  'delivery log': ['/alerts?state=log', XSS],
  'snapshots': ['/snapshots', XSS],
  'a snapshot': ['/s/s1', 'kept by'],
  'a pprof file': ['/import', 'Drop a pprof file'],
  'the dashboard itself': ['/self', XSS],
  'channels': ['/settings/channels', XSS],
  'retention': ['/settings/retention', 'How long telemetry is kept'],
  'account and sessions': ['/settings/sessions?all=1', XSS],
  'silences': ['/silences', XSS],
  'rules': ['/rules?app=shop&env=production', XSS],
  'rules of all applications': ['/rules', XSS],
  'sources': ['/sources?app=shop&env=production', XSS],
  'team': ['/settings/team', XSS],
  'agent keys': ['/settings/keys', XSS],
  'audit': ['/settings/audit', XSS],
  'nothing at this address': ['/no/such/page', 'no page at this address'],
};

let browser;
let mock;
let fresh;

before(async () => {
  browser = await startBrowser();
  mock = await startMock({web: dist});
  fresh = await startMock({web: dist, fresh: true});
});
after(async () => {
  await browser?.close();
  await mock?.close();
  await fresh?.close();
});

/* One page object goes through a group of tests: opening a session each time takes longer than the tests. */
function together(name, options, body) {
  describe(name, () => {
    const view = {};
    before(async () => Object.assign(view, await openPage(browser, options)));
    after(() => view.close());
    body(view);
  });
}

async function visit(view, url, text) {
  view.wrong.length = 0;
  await view.page.goto(url);
  await settled(view.page);
  await view.page.getByText(text, {exact: false}).first().waitFor();
}

together('every page', {}, (view) => {
  for (const [name, [path, text]] of Object.entries(PAGES)) {
    it(name, async () => {
      await visit(view, mock.url + path, text);
      await assertInert(view.page);
      assert.deepEqual(await accessibility(view.page), []);
      assert.deepEqual(view.wrong, []);
    });
  }
});

/* Only colours differ: one page of each kind shows them all. */
together('in dark, text stands out', {dark: true}, (view) => {
  for (const name of ['applications', 'add an application', 'overview', 'call tree, compared', 'flame graph', 'segments', 'alerts', 'rules', 'sources', 'team', 'HTTP handlers', 'call tree, focused, ignored, folded', 'the dashboard itself', 'a pprof file']) {
    it(name, async () => {
      await visit(view, mock.url + PAGES[name][0], PAGES[name][1]);
      assert.deepEqual(await accessibility(view.page, ['color-contrast']), []);
      assert.deepEqual(view.wrong, []);
    });
  }
});

together('on a phone', {width: 390, height: 844}, (view) => {
  for (const [name, [path]] of Object.entries(PAGES)) {
    it(`${name} fits 390 px`, async () => {
      await view.page.goto(mock.url + path);
      await settled(view.page);
      await noSidewaysScroll(view.page);
    });
  }

  it('the menu is behind a button', async () => {
    await view.page.goto(mock.url + APP + 'overview');
    await settled(view.page);
    await view.page.getByRole('button', {name: 'Menu'}).click();
    assert.deepEqual(await accessibility(view.page), []);
    await view.page.getByRole('link', {name: 'Health'}).first().click();
    await view.page.waitForURL(/\/health$/);
    assert.deepEqual(view.wrong, []);
  });
});

together('a page without data says why', {}, (view) => {
  const empty = {
    '/': 'No application reports yet', [APP + 'overview']: 'Nothing arrived', [APP + 'profiles/cpu']: 'No profiles in this time range', [APP + 'segments']: 'No segments', [APP + 'bottlenecks/database']: 'No Databases', '/settings/channels': 'Nobody is told yet', '/alerts?state=log': 'Nobody was told', [APP + 'errors']: 'No errors',
    [APP + 'health']: 'No metrics', '/alerts': 'Nothing fires', '/sources?app=shop&env=production': 'No source', '/rules?app=shop&env=production': 'No agent has told its rules',
  };
  for (const [path, title] of Object.entries(empty)) {
    it(path, async () => {
      await view.page.goto(fresh.url + path);
      await settled(view.page);
      await view.page.getByRole('heading', {name: title}).waitFor();
      assert.ok(await view.page.getByText('Likely causes:').count() > 0);
      assert.deepEqual(view.wrong, []);
    });
  }
});

describe('what the browser is given', () => {
  it('is one page with nothing inline and nothing from elsewhere', async () => {
    const html = await (await fetch(mock.url + '/a/shop/production/overview')).text();
    assert.ok(!/<script(?![^>]*src="\/assets\/)/.test(html));
    assert.ok(!/ style=| on\w+=|https?:\/\//.test(html.replace(/<noscript>.*<\/noscript>/s, '')));
  });
});
