// The page in Debian's Chromium: bytes and time of the first load over a real server with three hours of reports, and the frame rate
// of a flame graph of 100,000 nodes while it zooms and scrolls. `node bench/web_bench.mjs [LOADS]`; SI_BIN_DIR and SI_SPEC_DIR as in
// spec/web. Prints Markdown; ends with 1 when nothing was measured.
import {mkdtemp, rm} from 'node:fs/promises';
import {spawn} from 'node:child_process';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {startBrowser} from '../spec/web/browser.mjs';
import {startMock} from '../spec/web/mock/server.mjs';
import {ingest, madeReports, startDashboard} from '../spec/web/real_server.mjs';

const LOADS = Math.max(3, Number(process.argv[2] ?? 11));
const FLAME_NODES = 100_000;
const FLAME_FRAMES = 360; // four times in, along, and out
const MINUTE = 60_000;

const sorted = (values) => [...values].sort((a, b) => a - b);
const quantile = (values, q) => sorted(values)[Math.min(values.length - 1, Math.floor(values.length * q))];
const ms = (value) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;

function invalid(why) {
  console.log(`INVALID: ${why}`);
  process.exitCode = 1;
}

/* Runs in the page before anything else: when what a person came for is in the document and painted. */
function watchFor(selector) {
  const look = () => {
    if (!document.querySelector(selector)) return false;
    requestAnimationFrame(() => requestAnimationFrame((t) => { window.usableAt = Math.max(t, performance.now()); }));
    return true;
  };
  const observer = new MutationObserver(() => { if (look()) observer.disconnect(); });
  observer.observe(document, {childList: true, subtree: true, attributeFilter: ['data-drawn']});
}

/* One load with an empty cache, signed in. */
async function coldLoad(browser, url, state, selector) {
  const context = await browser.newContext({viewport: {width: 1360, height: 900}, storageState: state});
  try {
    const page = await context.newPage();
    await page.addInitScript(watchFor, selector);
    const cdp = await context.newCDPSession(page);
    await cdp.send('Network.enable');
    const kinds = new Map();
    let pageBytes = 0;
    let dataBytes = 0;
    cdp.on('Network.responseReceived', (e) => kinds.set(e.requestId, e.response.url));
    cdp.on('Network.loadingFinished', (e) => {
      if ((kinds.get(e.requestId) ?? '').includes('/api/v1/')) dataBytes += e.encodedDataLength;
      else pageBytes += e.encodedDataLength;
    });
    await page.goto(url, {waitUntil: 'commit'});
    const usable = await page.waitForFunction(() => window.usableAt, null, {timeout: 20_000}).then((handle) => handle.jsonValue());
    return {usable, pageBytes, dataBytes};
  } finally {
    await context.close();
  }
}

async function firstLoad(browser) {
  const server = await startDashboard(['--no-self']);
  try {
    const now = Date.now();
    const key = await server.makeKey('shop', 'production');
    await ingest(server.url, key, await madeReports({app: 'shop', env: 'production', host: 'shop-1', version: '1.4.1', minutes: 180, now}));
    await ingest(server.url, key, await madeReports({app: 'shop', env: 'production', host: 'shop-2', version: '1.4.2', minutes: 120, now, heat: 200}));
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(server.setup);
    await page.getByLabel('Your name').fill('Ada');
    await page.getByLabel('E-mail').fill('ada@example.org');
    await page.getByLabel('Password').fill('a long enough password');
    await page.getByRole('button', {name: 'Create the administrator'}).click();
    await page.getByRole('heading', {name: 'Applications'}).waitFor();
    const state = await context.storageState();
    await context.close();
    const pages = [['overview', '/a/shop/production/overview', '.figure .uplot'], ['CPU: history and call tree', '/a/shop/production/profiles/cpu', '.trow .fn'], ['flame graph', '/a/shop/production/profiles/cpu?view=flame', '.flame canvas[data-drawn]']];
    console.log(`\n| first load, empty cache, ${LOADS} each | page, gzipped | data | usable, median | worst |\n| --- | --- | --- | --- | --- |`);
    for (const [name, path, selector] of pages) {
      const loads = [];
      for (let i = 0; i < LOADS; i++) loads.push(await coldLoad(browser, server.url + path, state, selector));
      if (loads.some((one) => one.pageBytes < 10_000 || one.dataBytes < 1000)) return invalid(`${name}: nothing was loaded`);
      const usable = loads.map((one) => one.usable);
      console.log(`| ${name} | ${(quantile(loads.map((one) => one.pageBytes), 0.5) / 1024).toFixed(1)} KiB | ${(quantile(loads.map((one) => one.dataBytes), 0.5) / 1024).toFixed(1)} KiB | ${ms(quantile(usable, 0.5))} | ${ms(Math.max(...usable))} |`);
    }
  } finally {
    await server.stop();
  }
  return undefined;
}

/* Runs in the page: one wheel event a frame, as a hand makes them; what each frame took. */
function zoomAndScroll(frames) {
  return new Promise((resolve) => {
    const view = document.querySelector('.flame .view');
    const canvas = view.querySelector('canvas');
    const box = view.getBoundingClientRect();
    const intervals = [];
    const draws = [];
    const drawn = [];
    let before = 0;
    let n = 0;
    const step = (t) => {
      if (before) {
        intervals.push(t - before);
        draws.push(Number(canvas.dataset.drawMs));
        drawn.push(Number(canvas.dataset.drawn));
      }
      before = t;
      if (n++ >= frames) return resolve({intervals, draws, drawn});
      const phase = Math.floor((n - 1) / 30) % 3; // in, along, out
      const x = box.left + box.width * (0.5 + 0.4 * Math.sin(n / 23));
      view.dispatchEvent(new WheelEvent('wheel', {bubbles: true, cancelable: true, clientX: x, clientY: box.top + 60, ctrlKey: phase !== 1, deltaY: phase === 0 ? -40 : phase === 1 ? (n % 30 < 15 ? 30 : -30) : 40}));
      return requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  });
}

async function flame(browser, dist) {
  const mock = await startMock({web: dist, treeSize: FLAME_NODES});
  try {
    const context = await browser.newContext({viewport: {width: 1360, height: 900}});
    const page = await context.newPage();
    await page.goto(`${mock.url}/a/shop/production/profiles/cpu?view=flame`);
    await page.waitForFunction(() => Number(document.querySelector('.flame canvas')?.dataset.drawn) > 100, null, {timeout: 30_000});
    const nodes = await page.evaluate(async () => (await (await fetch('/api/v1/profiles/tree?type=cpu&from=1&to=2000')).json()).nodes.length);
    if (nodes < FLAME_NODES) return invalid(`only ${nodes} nodes`);
    await page.evaluate(zoomAndScroll, 90); // the browser compiles what is hot
    const run = await page.evaluate(zoomAndScroll, FLAME_FRAMES);
    if (run.intervals.length < FLAME_FRAMES - 1 || new Set(run.drawn).size < 20) return invalid(`the flame graph did not move: ${run.intervals.length} frames, ${new Set(run.drawn).size} pictures`);
    const seconds = run.intervals.reduce((sum, one) => sum + one, 0) / 1000;
    const late = run.intervals.filter((one) => one > 25).length;
    console.log(`\n| flame graph of ${nodes.toLocaleString('en')} nodes, zooming and scrolling, ${FLAME_FRAMES} frames | |\n| --- | --- |`);
    console.log(`| frames a second | ${(run.intervals.length / seconds).toFixed(1)} |`);
    console.log(`| frames later than 25 ms | ${late} of ${run.intervals.length} |`);
    console.log(`| drawing one frame, median, 99th percentile | ${ms(quantile(run.draws, 0.5))}, ${ms(quantile(run.draws, 0.99))} |`);
    console.log(`| rectangles a frame, most | ${Math.max(...run.drawn)} |`);
  } finally {
    await mock.close();
  }
  return undefined;
}

const scratch = await mkdtemp(join(tmpdir(), 'si-web-bench-'));
const browser = await startBrowser();
try {
  await firstLoad(browser);
  await new Promise((resolve, reject) => {
    spawn(process.execPath, [fileURLToPath(new URL('../dashboard/web/build.mjs', import.meta.url)), '--out', scratch], {stdio: ['ignore', 'ignore', 'inherit']}).on('close', (code) => code === 0 ? resolve() : reject(new Error('the pages do not build')));
  });
  await flame(browser, scratch);
} finally {
  await browser.close();
  await rm(scratch, {recursive: true, force: true});
}
