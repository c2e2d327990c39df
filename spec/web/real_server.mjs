// A real si-dashboard for a test: started on a free port over an empty folder, fed with reports that the agent's own encoder made, and
// ended by its process id.
import {spawn} from 'node:child_process';
import {access, mkdir, mkdtemp, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';

const top = fileURLToPath(new URL('../..', import.meta.url));
const bin = process.env.SI_BIN_DIR ?? join(top, 'build/release/bin');
const spec = process.env.SI_SPEC_DIR ?? join(bin, '../spec');
const START_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 10_000;

async function needs(path) {
  await access(path).catch(() => { throw new Error(`${path} is missing: build it, or say where it is with SI_BIN_DIR`); });
  return path;
}

/* Collects what a program prints to its end. */
function output(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {stdio: ['ignore', 'pipe', 'inherit']});
    const parts = [];
    child.stdout.on('data', (part) => parts.push(part));
    child.on('error', reject);
    child.on('close', (code) => code === 0 ? resolve(Buffer.concat(parts)) : reject(new Error(`${command} ended with ${code}`)));
  });
}

/** Reports of `minutes` minutes up to `now`, oldest first, encoded. */
export async function madeReports({app, env, host, version, minutes, now, heat = 100}) {
  const all = await output(await needs(join(spec, 'made_reports')), [app, env, host, version, minutes, now, heat].map(String));
  const reports = [];
  for (let at = 0; at < all.length;) {
    const length = all.readUInt32LE(at);
    reports.push(all.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return reports;
}

export async function startDashboard(options = []) {
  const command = await needs(join(bin, 'si-dashboard'));
  const data = await mkdtemp(join(tmpdir(), 'si-web-data-'));
  // Messages are not gathered for half a minute here: a page waits for them.
  const rules = join(data, 'spec-rules');
  await mkdir(rules);
  await writeFile(join(rules, 'routing.lua'), 'route { to = "default", wait = "0s", interval = "1s" }\n');
  const child = spawn(command, ['--listen', '127.0.0.1:0', '--data', data, '--rules', rules, ...options], {stdio: ['ignore', 'pipe', 'pipe']});
  const last = () => child.kill('SIGKILL'); // a test that is stopped from outside leaves no server behind
  process.once('exit', last);
  for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => process.exit(1));
  const ended = new Promise((resolve) => child.on('close', resolve));
  let text = '';
  let complaints = '';
  child.stderr.on('data', (part) => { complaints += part; });
  const lines = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`si-dashboard did not start: ${text}${complaints}`)), START_LIMIT_MS);
    child.stdout.on('data', (part) => {
      text += part;
      const url = /listening on (http:\/\/\S+)/.exec(text);
      const setup = /(http:\/\/\S+\/setup\?token=\S+)/.exec(text);
      if (url && setup) {
        clearTimeout(timer);
        resolve({url: url[1], setup: setup[1]});
      }
    });
    child.on('close', (code) => reject(new Error(`si-dashboard ended with ${code}: ${text}${complaints}`)));
  });
  return {
    ...lines,
    complaints: () => complaints,
    makeKey: async (app, env) => String(await output(command, ['key', '--data', data, '--app', app, '--env', env])).trim(),
    signInLink: async () => String(await output(command, ['sign-in-link', '--data', data])).trim(),
    async stop() {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
      const code = await ended;
      clearTimeout(timer);
      process.off('exit', last);
      await rm(data, {recursive: true, force: true});
      return code;
    },
  };
}

/** Has the agent's own command read a rules directory; what it complains about is the error. */
export async function checkRules(dir) {
  await output(await needs(join(bin, 'si')), ['rules', 'check', dir]);
}

/** Posts reports one after the other, as an agent does. Each must be stored. */
export async function ingest(url, key, reports) {
  for (const report of reports) {
    const response = await fetch(url + '/api/v1/reports', {method: 'POST', headers: {'Authorization': `Bearer ${key}`, 'Content-Type': 'application/vnd.msgpack'}, body: report});
    if (response.status !== 200) throw new Error(`a report was answered with ${response.status}: ${await response.text()}`);
  }
}
