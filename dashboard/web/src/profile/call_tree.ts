// A call tree in typed arrays: 100,000 nodes are built, searched and laid out within a frame or two. Node 0 is the root; parents
// come before their children. Children are in order of their totals, with "other" last.
import type {Frame, ProfileTree} from '../api/types';
import {displayName, isOther} from './names';

export interface CallTree {
  frames: Frame[];
  names: string[]; // per frame, as shown
  size: number;
  parent: Int32Array;
  frame: Int32Array;
  depth: Int32Array;
  self: Float64Array;
  total: Float64Array;
  selfSamples: Float64Array;
  samples: Float64Array; // of the whole subtree
  base: Float64Array; // subtree's total in the base profile; zeros without one
  baseSelf: Float64Array;
  key: Float64Array; // the same call path has the same key in every profile
  first: Int32Array; // children as first/next lists, -1 ends
  next: Int32Array;
  childCount: Int32Array;
  rootFrame: number; // frame of the root; -1: the root stands for all calls
  hasBase: boolean; // the tree is a comparison; otherwise `base` is the 24 h before, for trends
  origin: Int32Array; // index in the answer's nodes
  maxDepth: number;
  whole: number; // what shares are of: the profile's total, also when only a part of it is shown
  baseWhole: number;
}

function hashText(text: string, seed: number): number {
  let a = seed | 0;
  let b = (seed ^ 0x9e3779b9) | 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    a = Math.imul(a ^ c, 0x01000193);
    b = Math.imul(b + c, 0x85ebca6b) ^ (b >>> 13);
  }
  return (a >>> 0) * 0x100000 + ((b >>> 0) & 0xfffff);
}

function mix(parent: number, frame: number): number {
  const low = Math.imul((parent % 0x100000000) ^ 0x27d4eb2f, 0x165667b1) ^ (frame % 0x100000000);
  const high = Math.imul(Math.floor(parent / 0x100000) ^ low, 0x9e3779b1) + Math.floor(frame / 0x100000);
  return (low >>> 0) * 0x100000 + ((high >>> 0) & 0xfffff);
}

function allocate(size: number, frames: Frame[], folded: boolean, hasBase: boolean, names?: string[]): CallTree {
  return {
    frames, hasBase, size, maxDepth: 0, rootFrame: -1, whole: 0, baseWhole: 0,
    names: names ?? frames.map((frame) => displayName(frame, folded)),
    parent: new Int32Array(size), frame: new Int32Array(size), depth: new Int32Array(size),
    self: new Float64Array(size), total: new Float64Array(size), selfSamples: new Float64Array(size), samples: new Float64Array(size),
    base: new Float64Array(size), baseSelf: new Float64Array(size), key: new Float64Array(size),
    origin: new Int32Array(size), first: new Int32Array(size).fill(-1), next: new Int32Array(size).fill(-1), childCount: new Int32Array(size),
  };
}

/* Fills what follows from parent, frame, self, selfSamples and baseSelf. */
function finish(tree: CallTree): CallTree {
  const frameKey = tree.frames.map((frame) => hashText(frame[0] + '\n' + frame[3], 0x811c9dc5));
  tree.total.set(tree.self);
  tree.samples.set(tree.selfSamples);
  tree.base.set(tree.baseSelf);
  for (let i = tree.size - 1; i > 0; i--) {
    const p = tree.parent[i]!;
    tree.total[p]! += tree.total[i]!;
    tree.samples[p]! += tree.samples[i]!;
    tree.base[p]! += tree.base[i]!;
    tree.childCount[p]!++;
  }
  tree.whole = tree.total[0]!;
  tree.baseWhole = tree.base[0]!;
  tree.parent[0] = -1;
  tree.key[0] = 1;
  for (let i = 1; i < tree.size; i++) {
    const p = tree.parent[i]!;
    tree.depth[i] = tree.depth[p]! + 1;
    if (tree.depth[i]! > tree.maxDepth) tree.maxDepth = tree.depth[i]!;
    tree.key[i] = mix(tree.key[p]!, frameKey[tree.frame[i]!] ?? 0);
  }
  linkChildren(tree);
  return tree;
}

function linkChildren(tree: CallTree): void {
  const starts = new Int32Array(tree.size + 1);
  for (let i = 0; i < tree.size; i++) starts[i + 1] = starts[i]! + tree.childCount[i]!;
  const filled = starts.slice(0, tree.size);
  const all = new Int32Array(tree.size);
  for (let i = 1; i < tree.size; i++) all[filled[tree.parent[i]!]!++] = i;
  const other = tree.frames.map((frame) => isOther(frame[0]));
  const weight = (i: number): number => tree.hasBase ? Math.max(tree.total[i]!, tree.base[i]!) : tree.total[i]!;
  for (let p = 0; p < tree.size; p++) {
    const children = all.subarray(starts[p], starts[p + 1]);
    if (children.length === 0) continue;
    if (children.length > 1) {
      children.sort((a, b) => Number(other[tree.frame[a]!] ?? false) - Number(other[tree.frame[b]!] ?? false) || weight(b) - weight(a) || a - b);
    }
    tree.first[p] = children[0]!;
    for (let i = 0; i + 1 < children.length; i++) tree.next[children[i]!] = children[i + 1]!;
  }
}

/* Which nodes a view shows: all of a comparison; otherwise not those that only the 24 h before have. */
function shownNodes(answer: ProfileTree, compared: boolean): Uint8Array {
  const shown = new Uint8Array(answer.nodes.length).fill(1);
  if (compared || answer.before === undefined) return shown;
  for (let i = answer.nodes.length - 1; i > 0; i--) {
    const [parent, , self, samples] = answer.nodes[i]!;
    if (shown[i] !== 2 && self === 0 && samples === 0) shown[i] = 0;
    else if (parent > 0 && parent < i) shown[parent] = 2; // called something that is shown
  }
  return shown;
}

/**
 * Builds the tree of an answer of /profiles/tree. `compared`: a base was asked for. Nodes that break the order "parents first"
 * are hung under the root.
 */
export function buildTree(answer: ProfileTree, folded: boolean, compared = false): CallTree {
  const shown = shownNodes(answer, compared);
  const place = new Int32Array(answer.nodes.length);
  const size = Math.max(1, shown.reduce((n, one) => n + (one ? 1 : 0), 0));
  const tree = allocate(size, answer.frames, folded, compared && answer.before !== undefined);
  let to = 0;
  answer.nodes.forEach((node, i) => {
    if (!shown[i]) return;
    place[i] = to;
    tree.origin[to] = i;
    tree.parent[to] = i === 0 ? -1 : node[0] >= 0 && node[0] < i ? place[node[0]]! : 0;
    tree.frame[to] = node[1];
    tree.self[to] = node[2];
    tree.selfSamples[to] = node[3];
    tree.baseSelf[to] = node[4] ?? 0;
    to++;
  });
  return finish(tree);
}

/** A tree over the same frames from columns in which parents come first; shares stay those of the tree it was made from. */
export function treeFrom(like: CallTree, columns: {parent: number[]; frame: number[]; self: number[]; samples: number[]; base: number[]; origin: number[]}): CallTree {
  const out = allocate(columns.parent.length, like.frames, false, like.hasBase, like.names);
  out.rootFrame = like.rootFrame;
  out.parent.set(columns.parent);
  out.frame.set(columns.frame);
  out.self.set(columns.self);
  out.selfSamples.set(columns.samples);
  out.baseSelf.set(columns.base);
  out.origin.set(columns.origin);
  finish(out);
  out.whole = like.whole;
  out.baseWhole = like.baseWhole;
  return out;
}

export function childrenOf(tree: CallTree, node: number): number[] {
  const out: number[] = [];
  for (let c = tree.first[node]!; c >= 0; c = tree.next[c]!) out.push(c);
  return out;
}

export function nameOf(tree: CallTree, node: number): string {
  if (node === 0 && tree.rootFrame < 0) return 'all';
  return tree.names[tree.frame[node]!] ?? '?';
}

export function frameOf(tree: CallTree, node: number): Frame {
  if (node === 0 && tree.rootFrame < 0) return ['all', '', 0, ''];
  return tree.frames[tree.frame[node]!] ?? ['?', '', 0, ''];
}

export function pathOf(tree: CallTree, node: number): number[] {
  const out: number[] = [];
  for (let i = node; i >= 0; i = tree.parent[i]!) out.push(i);
  return out.reverse();
}

export function findKey(tree: CallTree, key: number): number {
  return tree.key.indexOf(key);
}

const SIGMAS = 2;

/**
 * Whether `after` and `before` differ by no more than chance: both are sums of samples, whose number varies by its root. Without
 * this, a comparison paints what did not change.
 */
export function isNoise(tree: CallTree, after: number, before: number): boolean {
  const perSample = tree.samples[0]! > 0 ? Math.abs(tree.total[0]!) / tree.samples[0]! : 0;
  const least = 0.0005 * Math.abs(tree.total[0]!);
  return Math.abs(after - before) <= Math.max(least, SIGMAS * Math.sqrt(perSample * (Math.abs(after) + Math.abs(before))));
}

/** One row a function: self and total over the whole tree; recursion counts once. */
export interface FunctionRow {
  id: string; // function and module
  frame: number; // one of its frames
  self: number;
  total: number;
  samples: number;
  base: number;
  baseSelf: number;
  nodes: number;
  other: boolean;
}

export function functionId(frame: Frame): string {
  return frame[0] + '\n' + frame[3];
}

export function functionsOf(tree: CallTree): FunctionRow[] {
  const ids = tree.frames.map(functionId);
  const rows = new Map<string, FunctionRow>();
  const open = new Map<string, number>(); // functions on the current path
  const walk: number[] = [0];
  const leave = -1;
  const path: string[] = [];
  while (walk.length > 0) {
    const node = walk.pop()!;
    if (node === leave) {
      const id = path.pop()!;
      open.set(id, open.get(id)! - 1);
      continue;
    }
    if (node > 0) {
      const frame = tree.frame[node]!;
      const id = ids[frame] ?? '?';
      let row = rows.get(id);
      if (!row) {
        row = {id, frame, self: 0, total: 0, samples: 0, base: 0, baseSelf: 0, nodes: 0, other: isOther(tree.frames[frame]?.[0] ?? '')};
        rows.set(id, row);
      }
      const depth = open.get(id) ?? 0;
      row.self += tree.self[node]!;
      row.baseSelf += tree.baseSelf[node]!;
      row.nodes++;
      if (depth === 0) {
        row.total += tree.total[node]!;
        row.samples += tree.samples[node]!;
        row.base += tree.base[node]!;
      }
      open.set(id, depth + 1);
      path.push(id);
      walk.push(leave);
    }
    for (let c = tree.first[node]!; c >= 0; c = tree.next[c]!) walk.push(c);
  }
  return [...rows.values()];
}

/* Merges paths of frames into a new tree: for callers (upwards) and callees (downwards) of one function. */
class PathMerger {
  private readonly parents: number[] = [-1];
  private readonly frameOfNode: number[] = [0];
  private readonly self: number[] = [0];
  private readonly samples: number[] = [0];
  private readonly base: number[] = [0];
  private readonly index = new Map<string, number>();

  constructor(private readonly rootFrame: number) {
    this.frameOfNode[0] = rootFrame;
  }

  child(parent: number, frame: number): number {
    const key = `${parent}/${frame}`;
    let node = this.index.get(key);
    if (node === undefined) {
      node = this.parents.length;
      this.index.set(key, node);
      this.parents.push(parent);
      this.frameOfNode.push(frame);
      this.self.push(0);
      this.samples.push(0);
      this.base.push(0);
    }
    return node;
  }

  add(node: number, self: number, samples: number, base: number): void {
    this.self[node]! += self;
    this.samples[node]! += samples;
    this.base[node]! += base;
  }

  tree(like: CallTree): CallTree {
    const out = allocate(this.parents.length, like.frames, false, like.hasBase, like.names);
    out.rootFrame = this.rootFrame;
    out.parent.set(this.parents);
    out.frame.set(this.frameOfNode);
    out.self.set(this.self);
    out.selfSamples.set(this.samples);
    out.baseSelf.set(this.base);
    return finish(out);
  }
}

/** Who calls the function, and what it calls; both rooted at it. Recursion counts once: only its outermost calls are roots. */
export function sandwichOf(tree: CallTree, id: string): {callers: CallTree; callees: CallTree} {
  const mine = tree.frames.map((frame) => functionId(frame) === id);
  const rootFrame = mine.indexOf(true);
  const callers = new PathMerger(rootFrame);
  const callees = new PathMerger(rootFrame);
  const inside = new Int32Array(tree.size).fill(-1); // node of `callees`, or -1
  for (let node = 1; node < tree.size; node++) {
    const parent = tree.parent[node]!;
    const above = inside[parent]!;
    if (above >= 0) {
      inside[node] = callees.child(above, tree.frame[node]!);
    } else if (mine[tree.frame[node]!]) {
      inside[node] = 0;
      let up = 0;
      for (let p = parent; p > 0; p = tree.parent[p]!) up = callers.child(up, tree.frame[p]!);
      callers.add(up, tree.total[node]!, tree.samples[node]!, tree.base[node]!);
    }
    if (inside[node]! >= 0) callees.add(inside[node]!, tree.self[node]!, tree.selfSamples[node]!, tree.baseSelf[node]!);
  }
  return {callers: callers.tree(tree), callees: callees.tree(tree)};
}

/** Which nodes match a search (by function, file or module), and the share that their subtrees hold, each counted once. */
export function search(tree: CallTree, query: string): {hit: Uint8Array; within: Uint8Array; value: number; count: number} {
  const hit = new Uint8Array(tree.size);
  const within = new Uint8Array(tree.size); // 1: a match below or at it, 2: below a match
  const wanted = query.toLowerCase();
  const frames = tree.frames.map((frame) => `${frame[0]}\n${frame[1]}\n${frame[3]}`.toLowerCase().includes(wanted));
  let value = 0;
  let count = 0;
  for (let i = 1; i < tree.size; i++) {
    const above = within[tree.parent[i]!]! & 2;
    if (frames[tree.frame[i]!]) {
      hit[i] = 1;
      count++;
      if (!above) value += tree.total[i]!;
      within[i] = 2;
    }
    if (above) within[i]! |= 2;
  }
  for (let i = tree.size - 1; i > 0; i--) {
    if (hit[i] || within[i]! & 1) within[tree.parent[i]!]! |= 1;
  }
  return {hit, within, value, count};
}
