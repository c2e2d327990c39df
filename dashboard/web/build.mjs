// Bundles the dashboard's pages: `node build.mjs --out DIR [--watch]`. Called by CMake, which embeds what is in DIR, and by the
// browser tests. The same sources give the same bytes, so the embedded files change only when the pages do.
import {mkdir, readFile, readdir, rm, writeFile} from 'node:fs/promises';
import {basename, dirname, join, resolve} from 'node:path';
import {fileURLToPath} from 'node:url';
import {gzipSync} from 'node:zlib';
import * as esbuild from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const FIRST_LOAD_LIMIT_BYTES = 100 * 1024;

function argument(name) {
  const i = process.argv.indexOf(name);
  return i >= 0 ? process.argv[i + 1] : undefined;
}

const out = resolve(argument('--out') ?? join(here, 'dist'));
const shape = process.argv.includes('--no-minify') ? {minify: false, sourcemap: 'inline'} : {minify: true};

const common = {
  absWorkingDir: here,
  bundle: true,
  write: false,
  outdir: 'assets',
  entryNames: '[name]-[hash]',
  target: ['es2021', 'chrome100', 'firefox100', 'safari15.4'],
  legalComments: 'none',
  charset: 'utf8',
  logLevel: 'warning',
  ...shape,
};

async function bundle() {
  const result = await esbuild.build({
    ...common,
    entryPoints: {app: 'src/main.tsx'},
    chunkNames: 'part-[hash]',
    splitting: true,
    metafile: true,
    format: 'esm',
    jsx: 'automatic',
    jsxImportSource: 'preact',
  });
  /* A small file of its own, that waits for nothing else. */
  const early = await esbuild.build({...common, entryPoints: {early: 'src/early.ts'}, format: 'iife'});
  const earlyName = `assets/${basename(early.outputFiles[0].path)}`;
  const names = {};
  const assets = [];
  for (const [path, output] of Object.entries(result.metafile.outputs)) {
    if (output.entryPoint === 'src/main.tsx') {
      names.js = path;
      names.css = output.cssBundle;
    }
  }
  /* What the first page needs: the entry, and the parts that it shares with pages which come later. */
  const first = new Set([names.js, names.css]);
  for (const path of first) {
    for (const used of result.metafile.outputs[path].imports) if (used.kind === 'import-statement') first.add(used.path);
  }
  assets.push({name: earlyName, contents: Buffer.from(early.outputFiles[0].contents), first: true});
  for (const file of result.outputFiles) {
    const name = `assets/${basename(file.path)}`;
    assets.push({name, contents: Buffer.from(file.contents), first: first.has(name)});
  }
  const shared = [...first].filter((path) => path !== names.js && path.endsWith('.js'));
  const template = await readFile(join(here, 'src/index.html'), 'utf8');
  const html = template.replace('%CSS%', '/' + names.css).replace('%EARLY%', '/' + earlyName)
    .replace('<script type="module" src="%JS%"></script>', [...shared.map((path) => `<link rel="modulepreload" href="/${path}">`), `<script type="module" src="/${names.js}"></script>`].join('\n'));
  assets.push({name: 'index.html', contents: Buffer.from(html), first: true});
  assets.push({name: 'assets/icon.svg', contents: await readFile(join(here, 'src/icon.svg')), first: true});
  return assets;
}

/* Removes bundles of earlier builds and nothing else: --out may hold other people's files. */
async function removeOld(keep) {
  const dir = join(out, 'assets');
  for (const name of await readdir(dir).catch(() => [])) {
    if (/^(app|part|early)-[0-9A-Za-z]+\.(js|css)$/.test(name) && !keep.has(`assets/${name}`)) await rm(join(dir, name));
  }
}

const assets = await bundle();
await mkdir(join(out, 'assets'), {recursive: true});
await removeOld(new Set(assets.map((asset) => asset.name)));
let gzipped = 0;
let all = 0;
for (const asset of assets) {
  await writeFile(join(out, asset.name), asset.contents);
  const size = gzipSync(asset.contents, {level: 9}).length;
  all += size;
  if (asset.first) gzipped += size;
}
console.log(`dashboard pages: ${assets.length} files, first load ${(gzipped / 1024).toFixed(1)} KiB gzipped, all ${(all / 1024).toFixed(1)} KiB, in ${out}`);
if (gzipped > FIRST_LOAD_LIMIT_BYTES && shape.minify) {
  console.error(`first load is over the limit of ${FIRST_LOAD_LIMIT_BYTES / 1024} KiB`);
  process.exitCode = 1;
}
