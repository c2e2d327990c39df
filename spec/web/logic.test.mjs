// The parts of the page that need no browser: names, units, call trees, what a flame graph draws.
import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import {mkdtemp, rm, writeFile} from 'node:fs/promises';
import {createRequire} from 'node:module';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, before, describe, it} from 'node:test';
import {fileURLToPath, pathToFileURL} from 'node:url';
import {makeTree, random, sum, XSS} from './mock/data.mjs';

const include = fileURLToPath(new URL('../../include', import.meta.url));
const web = fileURLToPath(new URL('../../dashboard/web/', import.meta.url));
let scratch;
let page;

before(async () => {
  const esbuild = createRequire(join(web, 'package.json'))('esbuild');
  scratch = await mkdtemp(join(tmpdir(), 'si-web-logic-'));
  const built = await esbuild.build({
    stdin: {
      contents: ['profile/names', 'profile/call_tree', 'profile/flame_layout', 'profile/measure', 'app/format', 'charts/series', 'pages/snippets'].map((name) => `export * from './src/${name}';`).join('\n'),
      resolveDir: web,
    },
    bundle: true, write: false, format: 'esm', platform: 'neutral', logLevel: 'error',
  });
  const file = join(scratch, 'logic.mjs');
  await writeFile(file, built.outputFiles[0].contents);
  page = await import(pathToFileURL(file).href);
});

after(() => rm(scratch, {recursive: true, force: true}));

const answerOf = ({frames, nodes}, extra = {}) => ({type: 'cpu', unit: 'ns', profiles: 1, samples: sum(nodes, 3), total: sum(nodes, 2), duration_ms: 1000, cores: 2, start_ms: 0, end_ms: 1000, frames, nodes, ...extra});

describe('names', () => {
  const cases = [
    ['std::vector<int, std::allocator<int> >::push_back(int const&)', 'std::vector<…>::push_back(int const&)'],
    ['std::map<a, std::pair<b, c>>::operator[](a const&)', 'std::map<…>::operator[](a const&)'],
    ['operator<<(std::ostream&, int)', 'operator<<(std::ostream&, int)'],
    ['foo::operator<(foo const&) const', 'foo::operator<(foo const&) const'],
    ['foo::operator->() const', 'foo::operator->() const'],
    ['std::function<void ()>::operator()() const', 'std::function<…>::operator()() const'],
    ['f<&(g(int))>(int)', 'f<…>(int)'],
    ['long_one(std::string const&, std::string const&, int)', 'long_one(…)'],
    ['<img src=x onerror=alert(1)>', '<img src=x onerror=alert(1)>'],
    ['unclosed<int', 'unclosed<int'],
    ['a > b', 'a > b'],
    ['plain', 'plain'],
  ];
  for (const [long, short] of cases) it(`shows ${long.slice(0, 50)}`, () => assert.equal(page.collapse(long), short));

  it('takes a name of a million brackets in its stride', () => {
    assert.ok(page.collapse('<'.repeat(1e6)).length <= 4000);
    assert.ok(page.collapse('a<'.repeat(5e5)).length <= 4000);
  });

  it('tells program, libraries, system, Lua and unknown apart', () => {
    const kind = (fn, file, module) => page.kindOf([fn, file, 0, module]);
    assert.equal(kind('main', 'main.c', '/srv/shop'), 'app');
    assert.equal(kind('sqlite3_step', '', '/usr/lib/libsqlite3.so.0'), 'lib');
    assert.equal(kind('memcpy', '', '/lib/x86_64-linux-gnu/libc.so.6'), 'system');
    assert.equal(kind('render', 'cart.lua', ''), 'script');
    assert.equal(kind('0x55d2', '', '/srv/shop'), 'unknown');
    assert.equal(kind('[libblob.so+0x1f40]', '', 'libblob.so'), 'unknown');
  });
});

describe('units', () => {
  it('writes numbers as people read them', () => {
    assert.equal(page.bytes(1288490189), '1.2 GiB');
    assert.equal(page.inUnit(340e6, 'ns/s'), '340 ms/s');
    assert.equal(page.percent(0.314), '31.4 %');
    assert.equal(page.inUnit(0.314, '1'), '31.4 %');
    assert.equal(page.inUnit(800, '1/s'), '800/s');
    assert.equal(page.inUnit(57159.3, '1/s'), '57\u202f159/s');
    assert.equal(page.inUnit(1 / 3600, '1/s'), '< 0.01/s'); // rare is not never
    assert.equal(page.count(0.004), '< 0.01');
    assert.equal(page.inUnit(12, '{thread}'), '12');
    assert.equal(page.percent(0.00001), '< 0.01 %');
    assert.equal(page.percent(NaN), '–');
    assert.equal(page.milliseconds(0.0034), '3.4 µs');
  });
  it('says change in words where a ratio says nothing', () => {
    assert.equal(page.change(0, 5), 'new');
    assert.equal(page.change(5, 0), 'gone');
    assert.equal(page.change(100, 142), '+42 %');
    assert.equal(page.change(100, 100.1), 'same');
    assert.equal(page.change(1, 30), '×30');
  });
});

describe('call tree', () => {
  it('adds up totals and samples, and puts "other" last', () => {
    const tree = page.buildTree(answerOf({
      frames: [['main', '', 0, ''], ['(other)', '', 0, ''], ['work', '', 0, '']],
      nodes: [[-1, 0, 0, 0], [0, 0, 10, 1], [1, 1, 90, 9], [1, 2, 20, 2]],
    }), true);
    assert.equal(tree.total[0], 120);
    assert.equal(tree.samples[0], 12);
    assert.deepEqual(page.childrenOf(tree, 1).map((node) => page.nameOf(tree, node)), ['work', '(other)']);
    assert.equal(page.functionsOf(tree).find((row) => row.other).self, 90);
  });

  it('counts recursion once', () => {
    const tree = page.buildTree(answerOf({frames: [['r', '', 0, '']], nodes: [[-1, 0, 0, 0], [0, 0, 1, 1], [1, 0, 1, 1], [2, 0, 1, 1]]}), true);
    const [row] = page.functionsOf(tree);
    assert.equal(row.total, 3);
    assert.equal(row.self, 3);
    const {callees, callers} = page.sandwichOf(tree, row.id);
    assert.equal(callees.total[0], 3);
    assert.equal(callers.total[0], 3);
  });

  it('keeps the sum between callers and callees of every function', () => {
    const tree = page.buildTree(answerOf(makeTree(900, 7)), true);
    for (const row of page.functionsOf(tree)) {
      const {callers, callees} = page.sandwichOf(tree, row.id);
      assert.equal(callees.total[0], row.total);
      assert.equal(callers.total[0], row.total);
    }
  });

  it('survives nodes that point forwards, backwards and nowhere', () => {
    const tree = page.buildTree(answerOf({frames: [['a', '', 0, '']], nodes: [[-1, 0, 0, 0], [5, 0, 1, 1], [-7, 99, 2, 1], [2, 0, 3, 1]]}), true);
    assert.equal(tree.total[0], 6);
    assert.equal(page.nameOf(tree, 2), '?');
  });

  it('leaves out calls that only the day before has, unless it compares', () => {
    const answer = answerOf({frames: [['a', '', 0, ''], ['gone', '', 0, '']], nodes: [[-1, 0, 0, 0, 0], [0, 0, 0, 0, 5], [1, 1, 0, 0, 7], [1, 0, 9, 1, 1]]}, {before: {profiles: 3, total: 13, duration_ms: 1}});
    const plain = page.buildTree(answer, true);
    assert.equal(plain.size, 3);
    assert.deepEqual([...plain.origin], [0, 1, 3]);
    assert.equal(page.buildTree(answer, true, true).size, 4);
  });

  it('gives one path the same key in different profiles', () => {
    const a = page.buildTree(answerOf(makeTree(400, 1)), true);
    const b = page.buildTree(answerOf({frames: makeTree(400, 1).frames, nodes: makeTree(400, 1).nodes.slice(0, 60)}), true);
    for (let i = 0; i < 60; i++) assert.equal(a.key[i], b.key[i]);
    assert.equal(new Set(a.key).size, new Set(Array.from(a.key, (_, i) => page.pathOf(a, i).map((n) => page.functionId(page.frameOf(a, n))).join('/'))).size);
  });

  it('finds calls and counts nested matches once', () => {
    const tree = page.buildTree(answerOf({frames: [['hit', '', 0, ''], ['miss', '', 0, '']], nodes: [[-1, 1, 0, 0], [0, 0, 5, 1], [1, 0, 5, 1], [0, 1, 90, 9]]}), true);
    const found = page.search(tree, 'HIT');
    assert.equal(found.value, 10);
    assert.equal(found.count, 2);
  });

  it('compares amounts of equal windows and shares of unequal ones', () => {
    const equal = page.measureOf(answerOf({frames: [], nodes: [[-1, 0, 100, 1]]}, {before: {profiles: 1, total: 50, duration_ms: 1000}}));
    assert.deepEqual([equal.absolute, equal.baseScale], [true, 1]);
    const unequal = page.measureOf(answerOf({frames: [], nodes: [[-1, 0, 100, 1]]}, {before: {profiles: 9, total: 500, duration_ms: 9000}}));
    assert.deepEqual([unequal.absolute, unequal.baseScale], [false, 0.2]);
  });
});

describe('flame layout', () => {
  it('shows every wide node of 100,000 and no more rectangles than pixels', () => {
    const tree = page.buildTree(answerOf(makeTree(100_000, 3)), true);
    const layout = page.layoutFlame(tree);
    const pixels = 1200;
    const next = random(5);
    for (let round = 0; round < 20; round++) {
      const whole = tree.total[0];
      const from = round === 0 ? 0 : next() * whole * 0.9;
      const to = round === 0 ? whole : from + (whole - from) * next() * next();
      layout.rows.forEach((row) => {
        const seen = new Set();
        let rectangles = 0;
        page.visitRow(layout, row, from, to, pixels, {node: (node) => { seen.add(node); rectangles++; }, dust: () => { rectangles++; }});
        assert.ok(rectangles <= pixels + 2, `${rectangles} rectangles in a row of ${pixels} pixels`);
        for (const node of row) {
          const left = (layout.x[node] - from) / (to - from) * pixels;
          const width = tree.total[node] / (to - from) * pixels;
          if (width >= 1.001 && left < pixels - 0.001 && left + width > 0.001) assert.ok(seen.has(node), 'a visible node is missing');
        }
      });
    }
  });

  it('finds the node under any point', () => {
    const tree = page.buildTree(answerOf(makeTree(5000, 3)), true);
    const layout = page.layoutFlame(tree);
    for (let node = 0; node < tree.size; node++) {
      if (tree.total[node] > 0) assert.equal(page.nodeAt(layout, layout.rows[tree.depth[node]], layout.x[node] + tree.total[node] / 2), node);
    }
  });
});

describe('lines', () => {
  it('join on one axis and break where reports stopped', () => {
    const minute = 60_000;
    const [times, a, b] = page.join([
      {label: 'a', color: '', points: [[0, 1], [minute, 2], [2 * minute, 3], [20 * minute, 4]]},
      {label: 'b', color: '', points: [[30_000, 5]]},
    ]);
    assert.deepEqual(times, [0, 30_000, minute, 2 * minute, 2 * minute + 1, 20 * minute]);
    assert.deepEqual(a, [1, undefined, 2, 3, null, 4]);
    assert.deepEqual(b, [undefined, 5, undefined, undefined, undefined, undefined]);
  });
});

describe('snippets', () => {
  it('quote names that would end a string or a command', () => {
    const wanted = {url: 'http://127.0.0.1:8686', key: 'si_1_x', app: `a"; system("rm -rf ~"); //`, env: `x'; rm -rf ~; '`};
    assert.ok(page.snippet('c', wanted).includes('"a\\"; system(\\"rm -rf ~\\"); //"'));
    assert.ok(page.snippet('run', wanted).includes(`SI_APP_ENVIRONMENT='x'\\''; rm -rf ~; '\\'''`));
  });

  /* The languages' own compilers read them, with ordinary and with hostile names. */
  const readers = {
    c: ['cc', ['-std=c11', '-Wall', '-Wextra', '-Werror', '-fsyntax-only', '-I', include, '-x', 'c', '-']],
    cpp: ['c++', ['-std=c++17', '-Wall', '-Wextra', '-Werror', '-fsyntax-only', '-I', include, '-x', 'c++', '-']],
    lua: ['lua5.4', ['-e', 'assert(load(io.read("a")))']],
    run: ['sh', ['-n']],
  };
  for (const [language, [command, args]] of Object.entries(readers)) {
    it(`are valid for ${command}`, () => {
      for (const [app, env] of [['shop', XSS], ['a"; b', `c' d`], ['e\\', 'f\ng'], ['h??/', '*/ i'], ['--]] j', '$(k)']]) {
        const input = page.snippet(language, {url: 'http://127.0.0.1:8686', key: 'si_1_x', app, env});
        const result = spawnSync(command, args, {input, encoding: 'utf8'});
        assert.equal(result.status, 0, `${JSON.stringify([app, env])}: ${result.stderr}`);
      }
    });
  }
});
