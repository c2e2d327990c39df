// Starts Debian's Chromium for the tests: headless, with a profile of its own in a temporary folder, without network traffic of
// its own. Nothing is downloaded. Every page that is opened here is watched: what goes wrong in it fails the test.
import assert from 'node:assert/strict';
import {readFile} from 'node:fs/promises';
import {createRequire} from 'node:module';
import {fileURLToPath} from 'node:url';

export const web = fileURLToPath(new URL('../../dashboard/web/', import.meta.url));
const requireFromWeb = createRequire(web + 'package.json');
const {chromium} = requireFromWeb('playwright-core');
const axe = await readFile(requireFromWeb.resolve('axe-core/axe.min.js'), 'utf8');

/** Where run.mjs has put the built pages. */
export const dist = process.env.SI_WEB_DIST ?? fileURLToPath(new URL('../../dashboard/web/dist/', import.meta.url));

export async function startBrowser() {
  return chromium.launch({
    executablePath: process.env.SI_CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

/** A page of its own session, with the list of everything that went wrong in it. Expected failures of requests are named by status. */
export async function openPage(browser, {width = 1360, height = 900, dark = false, expectStatus = []} = {}) {
  const context = await browser.newContext({viewport: {width, height}, colorScheme: dark ? 'dark' : 'light', reducedMotion: 'reduce', timezoneId: 'Europe/Berlin', locale: 'en-GB'});
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const wrong = [];
  page.on('pageerror', (error) => wrong.push(`script error: ${error.message}`));
  page.on('dialog', (dialog) => {
    wrong.push(`a dialog opened: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('console', (message) => {
    if (message.type() !== 'error') return;
    if (expectStatus.some((status) => message.text().includes(`status of ${status}`))) return;
    wrong.push(`console: ${message.text()}`);
  });
  page.on('request', (request) => {
    const host = new URL(request.url()).hostname;
    if (host !== '127.0.0.1' && !request.url().startsWith('data:')) wrong.push(`asks another host: ${request.url()}`);
  });
  return {page, context, wrong, close: () => context.close()};
}

/** Waits until a page has what it asked for: no placeholder and no answer under way. */
export async function settled(page) {
  await page.waitForFunction(() => !document.querySelector('.skeleton, .boot') && document.querySelector('#main'));
}

/** axe-core's findings that matter, as sentences. `rules`: only these. */
export async function accessibility(page, rules = []) {
  await page.evaluate(axe);
  const options = {resultTypes: ['violations'], runOnly: rules.length > 0 ? rules : ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']};
  /* Rows are alike: of long tables and trees the first are looked at. */
  const exclude = [['tbody tr:nth-child(n+16)'], ['.trow:nth-child(n+16)'], ['.panel:nth-of-type(n+14)']];
  const found = await page.evaluate(([given, left]) => window.axe.run({include: [['html']], exclude: left}, given), [options, exclude]);
  return found.violations.filter((v) => v.impact === 'serious' || v.impact === 'critical')
    .map((v) => `${v.id}: ${v.help} at ${v.nodes.slice(0, 3).map((node) => node.target.join(' ')).join(', ')}`);
}

/** No name became markup: nothing that the payloads would have made is in the document. */
export async function assertInert(page) {
  const made = await page.evaluate(() => ({
    images: document.querySelectorAll('img').length,
    handlers: [...document.querySelectorAll('*')].filter((element) => [...element.attributes].some((a) => /^on/i.test(a.name))).length,
    scripts: [...document.querySelectorAll('script')].filter((script) => !script.src.includes('/assets/')).length,
    links: [...document.querySelectorAll('a')].filter((a) => /^(javascript|data|vbscript):/i.test(a.href)).length,
  }));
  assert.deepEqual(made, {images: 0, handlers: 0, scripts: 0, links: 0});
}

export async function noSidewaysScroll(page) {
  const [content, view] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert.ok(content <= view, `the page is ${content} px wide in a window of ${view}`);
}
