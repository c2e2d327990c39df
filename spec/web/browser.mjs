// Starts Debian's Chromium for the tests: headless, with a profile of its own in a temporary folder, without any network traffic
// of its own. Nothing is downloaded.
import {createRequire} from 'node:module';
import {fileURLToPath} from 'node:url';

const requireFromWeb = createRequire(fileURLToPath(new URL('../../dashboard/web/package.json', import.meta.url)));
const {chromium} = requireFromWeb('playwright-core');
export const axeSource = requireFromWeb.resolve('axe-core/axe.min.js');
export const {encode} = requireFromWeb('@msgpack/msgpack');

export const CHROMIUM = process.env.SI_CHROMIUM ?? '/usr/bin/chromium';

export async function startBrowser() {
  return chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}
