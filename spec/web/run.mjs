// Runs the browser tests: `node spec/web/run.mjs [name...]`. Builds the pages into a temporary folder, runs the files
// side by side with node's test runner, two at a time, prints a summary, and leaves nothing behind.
import {spawn} from 'node:child_process';
import {mkdtemp, readdir, rm} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const build = fileURLToPath(new URL('../../dashboard/web/build.mjs', import.meta.url));
const FILE_LIMIT_MS = 8 * 60_000;

const AT_ONCE = 2;
const running = new Set();

/* Runs a program to its end; its output is printed when it is there in full. */
function run(command, args, environment, limitMs) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {env: {...process.env, ...environment}, stdio: ['ignore', 'pipe', 'inherit'], timeout: limitMs});
    running.add(child);
    let text = '';
    child.stdout.on('data', (part) => { text += part; });
    child.on('close', (code, signal) => {
      running.delete(child);
      process.stdout.write(text);
      resolve({failed: code !== 0, why: signal ?? code, text});
    });
  });
}

function counted(text, word) {
  const found = new RegExp(`^(?:#|ℹ) ${word} (\\d+)$`, 'm').exec(text);
  return found ? Number(found[1]) : 0;
}

async function main() {
  const wanted = process.argv.slice(2);
  const files = (await readdir(here)).filter((name) => name.endsWith('.test.mjs') && (wanted.length === 0 || wanted.some((w) => name.startsWith(w)))).sort();
  const scratch = await mkdtemp(join(tmpdir(), 'si-web-spec-'));
  const summary = [];
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => running.forEach((child) => child.kill(signal)));
  try {
    const dist = join(scratch, 'dist');
    const built = await run(process.execPath, [build, '--out', dist], {}, FILE_LIMIT_MS);
    if (built.failed) throw new Error('the pages do not build');
    const left = [...files];
    const take = async () => {
      for (let name = left.shift(); name; name = left.shift()) {
        const result = await run(process.execPath, ['--test', '--test-reporter=spec', join(here, name)], {SI_WEB_DIST: dist, TMPDIR: scratch}, FILE_LIMIT_MS);
        summary.push({name, failed: result.failed, pass: counted(result.text, 'pass'), fail: counted(result.text, 'fail')});
      }
    };
    await Promise.all(Array.from({length: AT_ONCE}, take));
  } finally {
    await rm(scratch, {recursive: true, force: true, maxRetries: 5});
  }
  console.log('\nbrowser tests');
  for (const one of summary) console.log(`  ${one.failed ? 'FAILED' : 'ok    '} ${one.name}: ${one.pass} passed, ${one.fail} failed`);
  const total = (key) => summary.reduce((n, one) => n + one[key], 0);
  console.log(`${total('pass')} passed, ${total('fail')} failed`);
  if (summary.length === 0 || total('pass') === 0 || summary.some((one) => one.failed)) process.exitCode = 1;
}

await main();
