// What a person does with the pages: signing in, choosing profiles, walking trees and flame graphs, going back, acknowledging.
import assert from 'node:assert/strict';
import {readFile} from 'node:fs/promises';
import {after, before, beforeEach, describe, it} from 'node:test';
import {accessibility, dist, openPage, settled, startBrowser} from './browser.mjs';
import {startMock} from './mock/server.mjs';

const PROFILES = '/a/shop/production/profiles/cpu';

let browser;
let mock;
let view;
let page;

before(async () => {
  browser = await startBrowser();
  mock = await startMock({web: dist});
});
after(async () => {
  await browser?.close();
  await mock?.close();
});
beforeEach(async () => {
  await view?.close();
  view = await openPage(browser, {expectStatus: [401, 404]});
  ({page} = view);
});

async function open(path) {
  await page.goto(mock.url + path);
  await settled(page);
}

const parameter = (name) => new URL(page.url()).searchParams.get(name);
const until = (name, test) => page.waitForFunction(([key, pattern]) => new RegExp(pattern).test(new URLSearchParams(location.search).get(key) ?? ''), [name, test]);
const gone = (name) => page.waitForFunction((key) => !new URLSearchParams(location.search).has(key), name);
const chart = () => page.locator('.chart .u-over').first();
const activeRow = () => page.locator('.trow[aria-selected="true"] .fn').first().textContent();

async function clickChart(atX, atY = 0.5) {
  const box = await chart().boundingBox();
  await page.mouse.click(box.x + box.width * atX, box.y + box.height * atY);
}

async function dragChart(fromX, toX) {
  const box = await chart().boundingBox();
  const y = box.y + box.height / 2;
  await page.mouse.move(box.x + box.width * fromX, y);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * (fromX + toX) / 2, y, {steps: 4});
  await page.mouse.move(box.x + box.width * toX, y, {steps: 4});
  await page.mouse.up();
}

describe('profile history', () => {
  it('a click opens one profile, back shows the merge again, forward the profile', async () => {
    await open(PROFILES);
    await page.getByText('profiles merged').waitFor();
    await clickChart(0.3);
    await until('at', '^\\d+$');
    await page.getByText('Profile of').first().waitFor();
    assert.ok(mock.state.requests.some((r) => r.startsWith('GET /profiles/tree') && r.includes(`at=${parameter('at')}`)));
    const chosen = parameter('at');
    await page.goBack();
    await page.getByText('profiles merged').waitFor();
    await page.goForward();
    await until('at', chosen);
    await page.reload();
    await settled(page);
    await page.getByText('Profile of').first().waitFor();
    assert.deepEqual(view.wrong, []);
  });

  it('a dragged span is merged, and can become the time range', async () => {
    await open(PROFILES);
    await dragChart(0.2, 0.5);
    await until('at', '^\\d+-\\d+$');
    const [from, to] = parameter('at').split('-').map(Number);
    assert.ok(Math.abs((to - from) / 3_600_000 - 0.3) < 0.05, `${(to - from) / 60_000} min were chosen`);
    await page.getByRole('button', {name: 'Zoom to selection'}).click();
    await until('from', `^${from}$`);
    assert.equal(parameter('to'), String(to));
    assert.equal(parameter('at'), null);
  });

  it('Shift and a dragged span compares', async () => {
    await open(PROFILES);
    await page.keyboard.down('Shift');
    await dragChart(0.1, 0.3);
    await page.keyboard.up('Shift');
    await until('base', '^\\d+-\\d+$');
    await page.getByText('Compared with').waitFor();
    await page.getByRole('columnheader', {name: 'Change'}).waitFor();
    await page.getByRole('link', {name: 'End comparison'}).click();
    await gone('base');
  });

  it('keys step through the profiles and back to the merge', async () => {
    await open(PROFILES);
    await page.keyboard.press('[');
    await until('at', '^\\d+$');
    const last = parameter('at');
    await page.keyboard.press('[');
    await page.waitForFunction((old) => new URLSearchParams(location.search).get('at') !== old, last);
    await page.keyboard.press(']');
    await until('at', `^${last}$`);
    await page.keyboard.press('m');
    await gone('at');
  });
});

describe('call tree', () => {
  it('is walked, opened and closed with the keyboard', async () => {
    await open(PROFILES);
    const grid = page.getByRole('treegrid', {name: 'cpu profile'});
    await grid.focus();
    await page.keyboard.press('Home');
    assert.equal(await activeRow(), 'all');
    await page.keyboard.press('ArrowDown');
    assert.equal(await activeRow(), 'start_thread');
    const rows = () => grid.getAttribute('aria-rowcount').then(Number);
    const opened = await rows();
    await page.keyboard.press('ArrowLeft');
    assert.ok(await rows() < opened, 'closing a call hides what it calls');
    assert.equal(await page.locator('.trow[aria-selected="true"]').getAttribute('aria-expanded'), 'false');
    await page.keyboard.press('ArrowRight');
    assert.equal(await rows(), opened);
    await page.keyboard.press('ArrowRight');
    assert.equal(await activeRow(), 'MHD_polling_thread');
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('ArrowLeft');
    assert.equal(await activeRow(), 'start_thread', 'from a closed call to its caller');
    await page.keyboard.press('*');
    assert.ok(await rows() > opened, 'everything below is open');
    await page.keyboard.press('End');
    await page.waitForFunction(() => document.getElementById(document.querySelector('.treegrid').getAttribute('aria-activedescendant') ?? '')?.ariaSelected === 'true');
    assert.deepEqual(await accessibility(page), []);
  });

  it('keeps 100,000 calls scrolling by drawing only what is visible', async () => {
    mock.state.treeSize = 100_000;
    try {
      await open(PROFILES);
      await page.getByRole('treegrid', {name: 'cpu profile'}).focus();
      await page.keyboard.press('Home');
      await page.keyboard.press('*');
      const drawn = await page.locator('.trow').count();
      assert.ok(drawn < 120, `${drawn} rows are drawn`);
      await page.keyboard.press('End');
      assert.ok(await page.locator('.trow').count() < 120);
    } finally {
      mock.state.treeSize = 430;
    }
  });

  it('shows what a chosen call is and leads to the other views', async () => {
    await open(PROFILES);
    await page.locator('.trow .fn', {hasText: 'price_rank'}).first().click();
    await page.getByText('/srv/shop/src/search.c:130').waitFor();
    await page.getByRole('button', {name: 'Show in the flame graph'}).click();
    await until('view', 'flame');
    assert.ok(parameter('zoom'));
    await page.locator('.crumbs button[aria-current="true"]', {hasText: 'price_rank'}).waitFor();
  });

  it('names fold and unfold', async () => {
    await open(PROFILES + '?q=vector');
    await page.getByText('std::vector<…>::push_back(…)').first().waitFor();
    await page.getByRole('button', {name: 'Fold', exact: true}).click();
    await page.getByLabel('Short names').uncheck();
    await page.getByText('std::allocator<std::pair', {exact: false}).first().waitFor();
    assert.equal(parameter('names'), 'full');
  });
});

describe('what is left out', () => {
  const shown = async () => Number(/shown: ([\d.]+) %/.exec(await page.locator('.filters').textContent())[1]);

  it('focus keeps the stacks through a call, says what it hides, and goes again', async () => {
    await open(PROFILES);
    await page.locator('.trow .fn', {hasText: 'sqlite3_step'}).first().click();
    const share = Number((await page.locator('.trow', {hasText: 'sqlite3_step'}).locator('.share b').textContent()).replace(' %', ''));
    await page.getByRole('button', {name: /Focus, ignore, collapse/}).click();
    await page.getByRole('button', {name: /only stacks through it/}).click();
    await until('focus', '^sqlite3_step');
    assert.ok(Math.abs(await shown() - share) < 0.11, `${await shown()} of ${share} %`);
    await page.getByText(/hidden by the focus: [\d.]+ % in \d+ calls/).waitFor();
    assert.equal(await page.locator('.trow .fn', {hasText: 'price_rank'}).count(), 0);
    assert.deepEqual(await accessibility(page), []);
    await page.goBack();
    await gone('focus');
    await page.goForward();
    await page.getByRole('button', {name: 'Remove: focus: sqlite3_step'}).click();
    await gone('focus');
    await page.locator('.trow .fn', {hasText: 'price_rank'}).first().waitFor();
  });

  it('ignored and collapsed calls add up to the whole', async () => {
    await open(PROFILES + '?ignore=sqlite3_step');
    const left = await shown();
    const gone = Number(/ignored: ([\d.]+) %/.exec(await page.locator('.filters').textContent())[1]);
    assert.ok(Math.abs(left + gone - 100) < 0.2, `${left} + ${gone}`);
    await open(PROFILES + '?collapse=price_rank');
    assert.equal(await shown(), 100, 'what is collapsed stays in its caller');
    const row = page.locator('.trow', {hasText: 'price_rank'}).first();
    assert.equal(await row.getAttribute('aria-expanded'), null, 'a leaf');
    const [total, self] = await row.locator('[role=gridcell]').allTextContents().then((cells) => [cells[1], cells[2]]);
    assert.equal(total, self);
    await page.getByRole('button', {name: 'Show everything'}).click();
    await page.locator('.trow', {hasText: 'qsort_r'}).first().waitFor();
  });

  it('calls inside a library fold', async () => {
    await open(PROFILES + '?q=sqlite3VdbeExec');
    await page.locator('.trow', {hasText: 'sqlite3VdbeExec'}).first().waitFor();
    await page.getByRole('button', {name: 'Fold', exact: true}).click();
    await page.getByLabel('Calls inside one library').check();
    await until('fold', 'libraries');
    await page.getByText('no match').waitFor();
    await page.getByText(/\d+ calls joined, nothing lost/).waitFor();
  });

  it('every call leads to a rule that would watch it', async () => {
    await open(PROFILES);
    await page.locator('.trow .fn', {hasText: 'price_rank'}).first().click();
    await page.getByRole('button', {name: 'Alert on this call'}).click();
    const dialog = page.getByRole('dialog', {name: 'Alert on this call'});
    const text = await dialog.locator('pre').textContent();
    assert.match(text, /local CALL = "price_rank \(\/srv\/shop\/bin\/shop\)"/);
    assert.match(text, /over = callsites { profile = "cpu", top = 1000 }/);
    assert.deepEqual(await accessibility(page), []);
  });

  it('a hostile name stays one string in its rule', async () => {
    await open(PROFILES + '?q=' + encodeURIComponent('<img'));
    await page.locator('.trow .fn', {hasText: '<img'}).first().click();
    await page.getByRole('button', {name: 'Alert on this call'}).click();
    const text = await page.getByRole('dialog', {name: 'Alert on this call'}).locator('pre').textContent();
    assert.match(text, /^rule "cpu_of_img_src_x_onerror_alert_1_[0-9a-f]{6}" {$/m);
  });

  it('the source is shown where it was given, and how to give it where not', async () => {
    await open(PROFILES);
    await page.locator('.trow .fn', {hasText: 'price_rank'}).first().click();
    await page.getByRole('button', {name: 'Source', exact: true}).click();
    const source = page.getByRole('region', {name: /^Source of/});
    await source.locator('tr.here', {hasText: 'static int price_rank'}).waitFor();
    await source.getByText(/lines without cost/).first().waitFor();
    await source.getByRole('button', {name: 'All 300 lines'}).click();
    await source.getByText('line 300 ').waitFor();
    assert.deepEqual(await accessibility(page), []);
    await page.locator('.trow .fn', {hasText: 'handle_request'}).first().click();
    await page.getByRole('button', {name: 'Source', exact: true}).click();
    await page.getByText('This file is not here').waitFor();
    assert.deepEqual(view.wrong.filter((w) => !w.includes('404')), []);
  });
});

describe('sharing', () => {
  it('a snapshot gets a link, and shows what was kept', async () => {
    await open(PROFILES + '?base=src:2');
    await page.getByRole('button', {name: 'Snapshot'}).click();
    await page.getByLabel('Title').fill('before the release');
    await page.getByRole('button', {name: 'Keep it'}).click();
    await page.getByText('Kept. Everybody').waitFor();
    assert.ok(mock.state.requests.some((r) => r.startsWith('POST /snapshots?') && r.includes('base_src=2') && r.includes('type=cpu')));
    await page.getByRole('link', {name: 'Open it'}).click();
    await page.waitForURL(/\/s\/s\d+$/);
    await page.getByText('kept by Ada').waitFor();
    await page.getByRole('columnheader', {name: 'Change'}).waitFor();
    await page.getByRole('link', {name: 'Open the page it was made on'}).click();
    await until('base', 'src:2');
    assert.deepEqual(view.wrong, []);
  });

  it('comparing with a version asks for both versions', async () => {
    await open(PROFILES);
    await page.getByRole('button', {name: 'Compare', exact: true}).click();
    await page.getByRole('button', {name: '1.4.1'}).click();
    await until('base', '^version:1\\.4\\.1@');
    await page.getByText(/Compared with version 1\.4\.1/).waitFor();
    await page.waitForFunction(() => performance.getEntriesByType('resource').some((r) => /profiles\/tree.*version=1\.4\.2.*base_version=1\.4\.1/.test(r.name)));
    await page.getByRole('button', {name: 'Remove: version 1.4.2'}).click();
    await gone('version');
  });

  it('charts are saved as CSV, the flame graph as a picture', async () => {
    await open('/a/shop/production/health');
    const [csv] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', {name: 'process.cpu.utilization: download as CSV'}).click()]);
    const text = await readFile(await csv.path(), 'utf8');
    assert.match(text.split('\r\n')[0], /^time,time_ms,shop-1 · 4117,shop-2 · 903$/);
    assert.match(text.split('\r\n')[1], /^\d{4}-\d\d-\d\dT[\d:.]+Z,\d{13},0\.\d+,0\.\d+$/);
    await open(PROFILES + '?view=flame');
    await page.getByRole('button', {name: 'Export'}).click();
    const [png] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', {name: /Picture/}).click()]);
    const bytes = await readFile(await png.path());
    assert.deepEqual([...bytes.subarray(1, 4)], [...'PNG'].map((c) => c.charCodeAt(0)));
    assert.ok(bytes.length > 2000);
  });

  it('a pprof file is opened by choosing or dropping it', async () => {
    await open('/import');
    await page.getByLabel('pprof file').setInputFiles({name: 'go.pb.gz', mimeType: 'application/gzip', buffer: Buffer.from([31, 139, 8])});
    await page.getByLabel('Application').fill('go service');
    await page.getByRole('button', {name: 'Open it'}).click();
    await page.getByText('The file is here').waitFor();
    assert.ok(mock.state.requests.some((r) => r.startsWith('POST /profiles/import?app=go+service&env=files&name=go.pb.gz')));
    await page.getByRole('link', {name: /900 samples/}).click();
    await page.waitForURL(/\/a\/go%20service\/files\/profiles\/cpu\?from=\d+&to=\d+&view=flame$/);
  });

  it('a moment is marked, and drawn', async () => {
    await open('/a/shop/production/overview');
    await page.getByRole('button', {name: 'Mark', exact: true}).click();
    await page.getByRole('textbox', {name: 'Text'}).fill('cache 2 GiB');
    assert.deepEqual(await accessibility(page), []);
    await page.getByRole('button', {name: 'Mark it'}).click();
    await page.getByRole('dialog', {name: 'Mark a moment'}).waitFor({state: 'hidden'});
    const made = mock.state.marks.at(-1);
    assert.equal(made.text, 'cache 2 GiB');
    assert.ok(Math.abs(made.time_ms - Date.now()) < 120_000, 'the time of the field is local time');
  });
});

describe('flame graph', () => {
  const clickFlame = async (x, row) => {
    const box = await page.locator('.flame canvas').boundingBox();
    await page.mouse.move(box.x + box.width * x, box.y + row * 19 + 9);
    await page.locator('.flame-tip').waitFor();
    await page.mouse.click(box.x + box.width * x, box.y + row * 19 + 9);
  };

  it('zooms by click, remembers it in the address, and back zooms out', async () => {
    await open(PROFILES + '?view=flame');
    await clickFlame(0.2, 3);
    await until('zoom', '.');
    await page.locator('.crumbs button[aria-current="true"]', {hasText: 'handle_request'}).waitFor();
    await page.goBack();
    await gone('zoom');
    await page.goForward();
    await page.reload();
    await settled(page);
    await page.locator('.crumbs button[aria-current="true"]', {hasText: 'handle_request'}).waitFor();
    await page.locator('.flame .view').focus();
    await page.keyboard.press('Escape');
    await gone('zoom');
    assert.deepEqual(view.wrong, []);
  });

  it('is walked with the keyboard, and says what is active', async () => {
    await open(PROFILES + '?view=flame');
    await page.locator('.flame .view').focus();
    for (const name of ['start_thread', 'MHD_polling_thread', 'handle_request']) {
      await page.keyboard.press('ArrowDown');
      await page.locator('#flame-active', {hasText: name}).waitFor();
    }
    await page.keyboard.press('Enter');
    await until('zoom', '.');
    await page.keyboard.press('ArrowUp');
    await page.locator('#flame-active', {hasText: 'MHD_polling_thread'}).waitFor();
    await page.keyboard.press('Backspace');
    await page.locator('.crumbs button[aria-current="true"]', {hasText: 'MHD_polling_thread'}).waitFor();
  });

  it('search marks what matches and says its share', async () => {
    await open(PROFILES + '?view=flame');
    const before = await page.locator('.flame canvas').screenshot();
    await page.keyboard.press('/');
    await page.keyboard.type('sqlite3_step');
    await until('q', 'sqlite3_step');
    await page.getByRole('status').filter({hasText: /% in \d+ call/}).waitFor();
    assert.ok(!before.equals(await page.locator('.flame canvas').screenshot()), 'the picture changes');
  });

  it('draws 100,000 nodes with a few thousand rectangles', async () => {
    mock.state.treeSize = 100_000;
    try {
      await open(PROFILES + '?view=flame');
      const canvas = page.locator('.flame canvas');
      await page.waitForFunction(() => Number(document.querySelector('.flame canvas')?.dataset.drawn) > 100);
      const [drawn, width, height] = await canvas.evaluate((c) => [Number(c.dataset.drawn), c.clientWidth, c.clientHeight]);
      assert.ok(drawn <= (width + 2) * Math.ceil(height / 19), `${drawn} rectangles`);
      await page.locator('.flame .view').focus();
      await page.keyboard.press('ArrowDown');
      await page.keyboard.press('Enter');
      await until('zoom', '.');
    } finally {
      mock.state.treeSize = 430;
    }
  });
});

describe('finding one’s way', () => {
  it('1 to 4 change the view', async () => {
    await open(PROFILES);
    for (const [key, name] of [['2', 'flame'], ['3', 'top'], ['4', 'sandwich']]) {
      await page.keyboard.press(key);
      await until('view', name);
    }
    await page.keyboard.press('1');
    await gone('view');
  });

  it('Ctrl-K goes to another application, ? lists the keys', async () => {
    await open('/');
    await page.keyboard.press('Control+k');
    await page.getByRole('combobox', {name: 'Go to'}).fill('staging errors');
    await page.keyboard.press('Enter');
    await page.waitForURL(/\/a\/shop\/staging\/errors$/);
    await settled(page);
    await page.keyboard.press('?');
    await page.getByRole('dialog', {name: 'Keys'}).getByText('Merge all profiles').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog', {name: 'Keys'}).waitFor({state: 'hidden'});
  });

  it('Ctrl-K finds functions and segments of the application', async () => {
    await open('/a/shop/production/overview');
    await page.keyboard.press('Control+k');
    await page.getByRole('combobox', {name: 'Go to'}).fill('compare_p');
    await page.getByRole('option', {name: /compare_price/}).click();
    await until('view', 'sandwich');
    await page.getByRole('heading', {name: 'Callers of compare_price'}).waitFor();
  });

  it('times are local or UTC', async () => {
    await open(PROFILES + '?table=1');
    const first = () => page.locator('time').first().evaluate((t) => [t.dateTime, t.textContent]);
    const [iso, local] = await first();
    const hour = (text) => Number(/(\d\d):\d\d:\d\d/.exec(text)[1]);
    await page.getByRole('button', {name: /Time range/}).click();
    await page.getByLabel('Times in UTC').check();
    await page.keyboard.press('Escape');
    const [, utc] = await first();
    assert.equal(hour(utc), Number(iso.slice(11, 13)));
    assert.notEqual(hour(local), hour(utc), 'the tests run in Berlin');
  });

  it('all sources can be one sequence', async () => {
    await open(PROFILES);
    await page.locator('.legend', {hasText: 'shop-2'}).first().waitFor();
    await page.getByRole('button', {name: 'One sequence'}).click();
    await until('lines', 'one');
    await page.locator('.legend', {hasText: 'shop-2'}).first().waitFor({state: 'detached'});
  });

  it('keeps the time range from page to page, and the address holds it', async () => {
    await open('/a/shop/production/overview');
    await page.getByRole('button', {name: /Time range/}).click();
    await page.getByRole('button', {name: 'Last 6 hours'}).click();
    await until('range', '^6h$');
    await page.getByRole('link', {name: 'Health'}).first().click();
    await page.waitForURL(/health\?range=6h$/);
    await page.getByRole('button', {name: /Source/}).click();
    await page.getByRole('button', {name: /shop-2/}).click();
    await until('src', '^2$');
    await page.waitForFunction(() => document.querySelectorAll('.legend').length === 0); // one source, one line
  });

  it('remembers the colours that were chosen', async () => {
    await open('/');
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
    assert.equal(await theme(), 'light');
    await page.keyboard.press('t');
    assert.equal(await theme(), 'dark');
    await page.reload();
    await settled(page);
    assert.equal(await theme(), 'dark');
  });

  it('every chart has its numbers as a table', async () => {
    await open('/a/shop/production/health');
    await page.getByRole('button', {name: 'process.cpu.utilization: show as table'}).click();
    await page.getByRole('region', {name: 'process.cpu.utilization'}).getByRole('cell').nth(1).getByText('%').waitFor();
  });

  it('dragging over a chart zooms the time range', async () => {
    await open('/a/shop/production/segments');
    await dragChart(0.25, 0.75);
    await until('from', '^\\d+$');
    assert.ok(Math.abs(Number(parameter('to')) - Number(parameter('from')) - 1_800_000) < 300_000);
    await page.getByRole('button', {name: 'Back to now'}).click();
    await gone('from');
  });
});

describe('alerts', () => {
  it('are acknowledged with a comment and silenced', async () => {
    await open('/alerts');
    await page.getByRole('button', {name: /Details of CPU of shop-1/}).click();
    await page.getByText('oncall@example.org').waitFor();
    await page.getByLabel('Comment').fill('looking at it');
    await page.getByRole('button', {name: 'Acknowledge'}).click();
    await page.getByText('seen by Ada').waitFor();
    const before = mock.state.silences.length;
    await page.getByRole('button', {name: '8 hours'}).click();
    await page.getByRole('link', {name: 'Silences'}).click();
    await page.locator('.tag', {hasText: 'host=shop-1'}).waitFor();
    assert.equal(mock.state.silences.length, before + 1);
    await page.getByRole('row', {name: /host=shop-1/}).getByRole('button', {name: 'End'}).click();
    await page.locator('.tag', {hasText: 'host=shop-1'}).waitFor({state: 'detached'});
    assert.deepEqual(view.wrong, []);
  });

  it('never turn a hostile runbook into a link', async () => {
    await open('/alerts');
    assert.equal(await page.getByRole('link', {name: 'Runbook'}).count(), 1);
    assert.equal(await page.locator('a[href^="javascript"]').count(), 0);
  });
});

describe('the dashboard itself', () => {
  it('shows its last hours as charts, and as numbers', async () => {
    await open('/self?from=now-1h&to=now');
    await page.getByRole('button', {name: 'Reports and profiles stored: show as table'}).click();
    const table = page.getByRole('region', {name: 'Reports and profiles stored'});
    await table.getByRole('cell').nth(1).getByText('/s').waitFor();
    assert.deepEqual(await table.getByRole('columnheader').allTextContents(), ['Time', 'reports', 'profiles', 'refused']);
    assert.ok(await table.getByRole('row').count() > 30); // an hour of minutes
    assert.ok(mock.state.requests.some((r) => r.startsWith('GET /self/history?from=')));
    for (const label of ['Time until a report is acknowledged', 'Writes and rollups that wait', 'Bytes received', 'Size of the store']) await page.getByRole('button', {name: `${label}: show as table`}).waitFor();
  });
});

describe('settings', () => {
  it('a channel is tested from the page', async () => {
    await open('/settings/channels');
    await page.getByRole('row', {name: /slack:ops slack/}).getByRole('button', {name: 'Send a test'}).click();
    await page.getByText(/test: sent/).waitFor();
  });

  it('shorter retention warns first', async () => {
    await open('/settings/retention');
    await page.getByLabel('Keep for, in days').fill('7');
    await page.getByText('older than 7 days will be deleted').waitFor();
    await Promise.all([page.waitForResponse((r) => r.request().method() === 'POST' && r.ok()), page.getByRole('button', {name: 'Save'}).click()]);
    assert.equal(mock.state.retentionDays, 7);
  });

  it('an application is deleted when its name was typed again, and only then', async () => {
    await open('/settings/retention');
    const button = page.getByRole('button', {name: 'Delete for good'});
    const name = page.getByLabel('Its name again');
    await page.getByLabel('Application to delete').selectOption({label: 'shop, staging'});
    assert.equal(await button.isDisabled(), true);
    await name.fill('shop, staging');
    assert.equal(await button.isDisabled(), true);
    await name.fill('shop');
    await page.getByText('Type shop to delete it in staging').waitFor();
    await button.click();
    await page.getByRole('status').getByText('shop, staging was deleted.').waitFor();
    assert.deepEqual(mock.state.deletedApps, ['shop, staging']);
    await page.waitForFunction(() => ![...document.querySelectorAll('option')].some((one) => one.textContent === 'shop, staging'));
    assert.equal(await name.isDisabled(), true); // nothing is chosen any more
    mock.state.deletedApps = [];
  });

  it('the password is changed with the current one', async () => {
    await view.close();
    view = await openPage(browser, {expectStatus: [403]});
    ({page} = view);
    await open('/settings/sessions');
    await page.getByLabel('Current password').fill('wrong password');
    await page.getByLabel('New password').fill('a new long password');
    await page.getByRole('button', {name: 'Change the password'}).click();
    await page.getByRole('alert').getByText('The current password is wrong.').waitFor();
    await page.getByLabel('Current password').fill('the right password');
    await page.getByRole('button', {name: 'Change the password'}).click();
    await page.getByText('Your other sessions have ended').waitFor();
    assert.deepEqual(view.wrong, []);
  });

  it('a key that reads is made for a place, and rotated as such', async () => {
    await open('/settings/keys');
    await page.getByLabel('Application').selectOption({label: 'shop, staging'});
    await page.getByLabel('Label').fill('Grafana');
    await page.getByRole('button', {name: 'Make a reading key'}).click();
    const dialog = page.getByRole('dialog', {name: 'The new key'});
    await dialog.getByText('Authorization: Bearer').waitFor();
    const made = mock.state.keys.at(-1);
    assert.deepEqual([made.app, made.environment, made.label, made.purpose], ['shop', 'staging', 'Grafana', 'read']);
    await dialog.getByRole('button', {name: 'Close'}).click();
    await page.getByRole('row', {name: /reading/}).getByRole('button', {name: 'Rotate'}).click();
    await dialog.getByText('Both keys work now').waitFor();
    assert.equal(mock.state.keys.at(-1).purpose, 'read');
  });

  it('a key is rotated: the next one is shown once', async () => {
    await open('/settings/keys');
    await page.getByRole('button', {name: 'Rotate'}).first().click();
    await page.getByRole('dialog', {name: 'The new key'}).getByText(/^si_\d+_/).waitFor();
  });
});

describe('signing in', () => {
  let closed;
  before(async () => { closed = await startMock({web: dist, signedIn: false}); });
  after(() => closed?.close());

  it('asks first, says what was wrong, then goes where the address pointed', async () => {
    closed.state.user = null;
    await page.goto(closed.url + PROFILES + '?view=top');
    await page.getByRole('heading', {name: 'Sign in'}).waitFor();
    assert.deepEqual(await accessibility(page), []);
    await page.getByLabel('E-mail').fill('ada@example.org');
    await page.getByLabel('Password').fill('wrong password');
    await page.keyboard.press('Enter');
    await page.getByRole('alert').getByText('E-mail or password is wrong.').waitFor();
    await page.getByLabel('Password').fill('the right password');
    await page.keyboard.press('Enter');
    await page.waitForURL(/profiles\/cpu\?view=top$/);
    await settled(page);
    await page.getByRole('button', {name: 'Sign out'}).click();
    await page.getByRole('heading', {name: 'Sign in'}).waitFor();
  });

  it('goes to pages of its own only', async () => {
    for (const next of ['//evil.example/', 'https://evil.example/', '/\\evil.example', 'javascript:alert(1)']) {
      closed.state.user = null;
      await page.goto(`${closed.url}/sign-in?next=${encodeURIComponent(next)}`);
      await page.getByLabel('E-mail').fill('ada@example.org');
      await page.getByLabel('Password').fill('the right password');
      await page.keyboard.press('Enter');
      await page.getByRole('heading', {name: 'Applications'}).waitFor();
      assert.equal(new URL(page.url()).origin, closed.url);
    }
    assert.deepEqual(view.wrong, []);
  });

  it('a link signs in once opened; a lost session leads to the sign-in page', async () => {
    closed.state.user = null;
    await page.goto(closed.url + '/sign-in?token=abc');
    await page.getByRole('heading', {name: 'Applications'}).waitFor();
    closed.state.user = null;
    await page.getByRole('link', {name: 'Alerts'}).first().click();
    await page.getByRole('heading', {name: 'Sign in'}).waitFor();
  });

  it('the first administrator sets a password of ten characters', async () => {
    closed.state.user = null;
    closed.state.setupNeeded = true;
    await page.goto(closed.url + '/');
    await page.getByText('Open the set-up link').waitFor();
    await page.goto(closed.url + '/setup?token=abc');
    await page.getByLabel('Your name').fill('Ada');
    await page.getByLabel('E-mail').fill('ada@example.org');
    await page.getByLabel('Password').fill('short');
    await page.keyboard.press('Enter');
    await page.getByRole('alert').getByText('at least 10').waitFor();
    assert.deepEqual(await accessibility(page), []);
    await page.getByLabel('Password').fill('long enough now');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', {name: 'Applications'}).waitFor();
  });

  it('an invitation without its token says so', async () => {
    await page.goto(closed.url + '/invite');
    await page.getByText('no invitation in it').waitFor();
    await page.goto(closed.url + '/invite?token=abc');
    await page.getByLabel('Your name').fill('Bob');
    await page.getByLabel('Password').fill('long enough now');
    await page.getByRole('button', {name: 'Join'}).click();
    await page.getByRole('heading', {name: 'Applications'}).waitFor();
  });
});

describe('adding an application', () => {
  it('makes a key, fills the snippets, and waits for the first report', async () => {
    await open('/add');
    await page.getByLabel('Application').fill('checkout');
    await page.getByLabel('Environment').fill('staging');
    await page.getByRole('button', {name: 'Create a key'}).click();
    await page.getByText('Waiting for the first report').waitFor();
    await page.getByText('SI_APP_NAME=checkout').waitFor();
    for (const [language, text] of [['C', '#include <stdio.h>'], ['C++', '#include <iostream>'], ['Lua', 'require "si"']]) {
      await page.getByRole('button', {name: language, exact: true}).click();
      const code = page.locator('.code pre');
      await code.filter({hasText: text}).waitFor();
      assert.ok((await code.textContent()).includes(mock.url), 'the address of this dashboard');
      assert.match(await code.textContent(), new RegExp(`si_${mock.state.keys.length}_`), 'the new key');
    }
    await page.getByText('First report received').waitFor();
    await page.getByRole('link', {name: 'Open checkout'}).click();
    await page.waitForURL(/\/a\/checkout\/staging\/overview\?range=5m$/);
    assert.deepEqual(view.wrong, []);
  });
});

describe('live refresh', () => {
  it('asks again while it runs, not while it is paused, and keeps what is shown', async () => {
    await page.clock.install({time: Date.now()});
    await open('/a/shop/production/health');
    await page.getByText('process.cpu.utilization').first().waitFor();
    const asked = () => mock.state.requests.filter((r) => r.startsWith('GET /health')).length;
    const before = asked();
    const again = page.waitForResponse(/api\/v1\/health/);
    await page.clock.fastForward(11_000);
    assert.equal(await page.locator('.skeleton').count(), 0, 'no placeholder while newer data is on its way');
    await again;
    assert.equal(asked(), before + 1);
    await page.getByRole('button', {name: 'Live'}).click();
    await page.getByRole('button', {name: 'Paused'}).waitFor();
    await page.clock.fastForward(60_000);
    assert.equal(asked(), before + 1);
    assert.deepEqual(view.wrong, []);
  });
});

describe('when something fails', () => {
  it('a page says what, and tries again', async () => {
    await page.route('**/api/v1/health*', (route) => route.fulfill({status: 503, headers: {'Retry-After': '7'}, contentType: 'application/json', body: '{"error":{"code":"busy","message":"The store is busy."}}'}));
    await page.goto(mock.url + '/a/shop/production/health');
    await page.getByRole('alert').getByText('The store is busy. Try again in 7 s.').waitFor();
    await page.unroute('**/api/v1/health*');
    await page.getByRole('button', {name: 'Try again'}).click();
    await page.getByText('process.cpu.utilization').first().waitFor();
  });

  it('an unreachable dashboard is named as such', async () => {
    await page.route('**/api/v1/**', (route) => route.abort());
    await page.goto(mock.url + '/');
    await page.getByText('The dashboard cannot be reached').waitFor();
    await page.unroute('**/api/v1/**');
    await page.getByRole('button', {name: 'Try again'}).click();
    await page.getByRole('heading', {name: 'Applications'}).waitFor();
  });

  it('an answer that is no JSON does not break the page', async () => {
    await page.route('**/api/v1/errors?*', (route) => route.fulfill({status: 502, contentType: 'text/html', body: '<h1>Bad gateway</h1>'}));
    await page.goto(mock.url + '/a/shop/production/errors');
    await page.getByRole('alert').getByText('answered 502').waitFor();
  });
});
