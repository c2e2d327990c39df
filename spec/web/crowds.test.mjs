// Pages with more than a person can take in: fifty processes, fifty alerts, trees that were cut. What is left out is said, and
// can be reached.
import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';
import {accessibility, assertInert, dist, noSidewaysScroll, openPage, settled, startBrowser} from './browser.mjs';
import {XSS} from './mock/data.mjs';
import {startMock} from './mock/server.mjs';

const APP = '/a/shop/production/';
const LONG = 'a-name-that-nobody-should-give-'.repeat(9);
const MANY = 50;

let browser;
let mock;
let view;
let page;

before(async () => {
  browser = await startBrowser();
  mock = await startMock({web: dist});
  view = await openPage(browser);
  ({page} = view);
});
after(async () => {
  await browser?.close();
  await mock?.close();
});

/* The mock's answer to one path, changed; its others as they are. */
function change(path, edit) {
  mock.state.edits = {[path]: edit};
}

async function open(path) {
  view.wrong.length = 0;
  await page.goto(mock.url + path);
  await settled(page);
}

const many = (one, edit) => Array.from({length: MANY}, (_, i) => ({...one, id: i + 1, ...edit(i)}));

describe('fifty processes', () => {
  before(() => change('/sources', ({sources}) => ({sources: many(sources[0], (i) => ({host: i === 7 ? LONG : i === 8 ? XSS : `node-${i}`, pid: 100 + i, app_version: i === 7 ? LONG : '2.1.0', last_seen_ms: sources[0].last_seen_ms - i}))})));

  it('are a row each, which opens; the open one is in the address', async () => {
    await open('/sources?app=shop&env=production');
    const rows = page.getByRole('region', {name: 'Processes of shop production'});
    assert.equal(await rows.locator('tbody tr').count(), MANY);
    const row = rows.getByRole('row', {name: /node-3 pid 103/});
    await row.getByText('symbols').waitFor(); // what does not work is named
    await row.getByRole('button', {name: /node-3/}).click();
    await page.getByText('install its debug package').waitFor();
    assert.equal(new URL(page.url()).searchParams.get('open'), '4');
    await page.reload();
    await page.getByText('install its debug package').waitFor();
    await assertInert(page);
    assert.deepEqual(await accessibility(page), []);
    assert.deepEqual(view.wrong, []);
  });

  it('fit, whatever they are called', async () => {
    for (const width of [390, 1360]) {
      await page.setViewportSize({width, height: 900});
      for (const path of ['/sources?app=shop&env=production&open=8', APP + 'profiles/cpu']) {
        await open(path);
        await noSidewaysScroll(page);
      }
    }
  });

  it('are found by name, and lead to what one of them did', async () => {
    await open('/sources?app=shop&env=production&q=node-41');
    await page.getByRole('link', {name: 'Its overview'}).click();
    await page.waitForURL(/overview\?src=42$/);
  });
});

describe('fifty alerts', () => {
  it('do not push the overview away: the most severe are shown, the others counted', async () => {
    change('/overview', (data) => ({...data, alerts: many(data.alerts[0] ?? {}, (i) => ({rule: `rule_${i}`, subject: '', summary: `summary ${i}`, app: 'shop', env: 'production', host: LONG, state: 'firing', severity: i === MANY - 1 ? 'critical' : 'warning', fired_ms: 1000 + i, started_ms: 1, value: 1, runbook: '', detail: '', silenced: false}))}));
    await open(APP + 'overview');
    await page.getByText('50 alerts firing').waitFor();
    const items = page.getByRole('list', {name: '5 alerts'}).getByRole('listitem');
    assert.equal(await items.count(), 5);
    assert.match(await items.first().textContent(), /summary 49/);
    await page.getByText('45 more fire').click();
    await page.waitForURL(/\/alerts\?/);
  });
});

describe('many applications', () => {
  it('have cards that keep their shape whatever they are called', async () => {
    change('/apps', ({apps}) => ({apps: many(apps[0], (i) => ({app: i ? `${LONG}${i}` : 'shop', env: i % 2 ? LONG : 'production', last_seen_ms: i === 3 ? null : apps[0].last_seen_ms}))}));
    await open('/');
    const size = await page.locator('.card').nth(1).evaluate((card) => [card.scrollWidth <= card.clientWidth, card.querySelector('h2').getBoundingClientRect().right <= card.querySelector('.pill').getBoundingClientRect().left]);
    assert.deepEqual(size, [true, true]);
    await noSidewaysScroll(page);
    const field = await page.getByLabel('Search applications').boundingBox();
    const first = await page.locator('.card').first().boundingBox();
    assert.ok(first.y - (field.y + field.height) < 40, 'no hole below the search');
  });
});

describe('trees that were cut', () => {
  it('say how much of both sides is hidden', async () => {
    change('/profiles/tree', (tree) => ({...tree, hidden: {nodes: 812, value: tree.total * 0.03, share: 0.03, base_value: 1, base_share: 0.07}}));
    const hour = 3_600_000;
    await open(`${APP}profiles/cpu?base=${Date.now() - 2 * hour}-${Date.now() - hour}`);
    await page.getByText('hidden: 3.0 % of what is shown and 7.0 % of the base in 812 calls too small to send').waitFor();
    await open(`${APP}profiles/cpu`);
    await page.getByText('hidden: 3.0 % in 812 calls too small to send').waitFor();
  });
});

describe('nothing but zeros', () => {
  it('makes no scale of its own', async () => {
    change('/overview', (data) => ({...data, types: data.types.map((t) => ({...t, last: 0, avg: 0, points: t.points.map(([at]) => [at, 0])}))}));
    await open(APP + 'overview');
    await page.locator('.figure .uplot').first().waitFor();
    assert.equal(await page.getByRole('region', {name: 'CPU', exact: true}).locator('header b').textContent(), '0 %');
    assert.deepEqual(view.wrong, []);
  });
});
