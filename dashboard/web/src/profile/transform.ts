// What a person takes out of a call tree to see the rest: focus keeps the stacks through one function, ignore drops those through
// others, collapse makes a function's callees part of itself, fold joins calls that stay inside a library or recurse. Nothing
// disappears silently: each step says how much of the profile it took. Pure functions over typed arrays.
import {type CallTree, frameOf, functionId, treeFrom} from './call_tree';
import {kindOf} from './names';

export interface Wanted {
  focus: string; // a function's id, or its name alone; empty: none
  ignore: string[]; // names
  collapse: string[]; // names
  libraries: boolean; // chains of calls inside one library become one call
  recursion: boolean; // f calling f becomes one call
}

export interface Cut {
  tree: CallTree;
  focused: {value: number; nodes: number} | null; // what does not go through the focus
  ignored: {value: number; nodes: number} | null;
  joined: number; // calls that became part of another; their amounts stay
}

export function wantsAny(wanted: Wanted): boolean {
  return wanted.focus !== '' || wanted.ignore.length > 0 || wanted.collapse.length > 0 || wanted.libraries || wanted.recursion;
}

/** Whether the text of ?focus= names this frame's function. */
export function isFunction(wanted: string, frame: readonly [string, string, number, string]): boolean {
  return wanted !== '' && (wanted.includes('\n') ? functionId([...frame]) === wanted : frame[0] === wanted);
}

function marks(tree: CallTree, names: string[]): Uint8Array {
  const set = new Set(names);
  return Uint8Array.from(tree.frames, (frame) => Number(set.has(frame[0])));
}

/* 1: on a stack through the function (above, at, or below it). */
function through(tree: CallTree, focus: string): Uint8Array {
  const mine = Uint8Array.from(tree.frames, (frame) => Number(isFunction(focus, frame)));
  const kept = new Uint8Array(tree.size);
  for (let i = 1; i < tree.size; i++) {
    if (mine[tree.frame[i]!] || kept[tree.parent[i]!] === 2) kept[i] = 2; // at or below
  }
  for (let i = tree.size - 1; i > 0; i--) {
    if (kept[i] && !kept[tree.parent[i]!]) kept[tree.parent[i]!] = 1; // leads to it: its own samples do not count
  }
  return kept;
}

class Builder {
  readonly parent: number[] = [-1];
  readonly frame: number[] = [0];
  readonly self: number[] = [0];
  readonly samples: number[] = [0];
  readonly base: number[] = [0];
  readonly origin: number[] = [0];
  private readonly index = new Map<number, Map<number, number>>();

  child(parent: number, frame: number, origin: number): number {
    let below = this.index.get(parent);
    if (!below) this.index.set(parent, below = new Map<number, number>());
    let node = below.get(frame);
    if (node === undefined) {
      node = this.parent.length;
      below.set(frame, node);
      this.parent.push(parent);
      this.frame.push(frame);
      this.self.push(0);
      this.samples.push(0);
      this.base.push(0);
      this.origin.push(origin);
    }
    return node;
  }
}

/** The tree without what is not wanted. Shares are still of the whole profile: `whole` is kept by the caller. */
export function cutTree(tree: CallTree, wanted: Wanted): Cut {
  const kept = wanted.focus ? through(tree, wanted.focus) : null;
  const dropped = marks(tree, wanted.ignore);
  const closed = marks(tree, wanted.collapse);
  const library = wanted.libraries ? tree.frames.map((frame) => {
    const kind = kindOf(frame);
    return kind === 'lib' || kind === 'system' ? frame[3] || kind : '';
  }) : null;
  const names = wanted.recursion ? tree.frames.map(functionId) : null;
  const to = new Int32Array(tree.size); // node in the new tree; -1: dropped
  const sealed = new Uint8Array(tree.size); // below a collapsed call
  const made = new Builder();
  const focused = {value: 0, nodes: 0};
  const ignored = {value: 0, nodes: 0};
  let joined = 0;
  for (let i = 0; i < tree.size; i++) {
    const p = tree.parent[i]!;
    const frame = tree.frame[i]!;
    if (i > 0) {
      if (to[p] === -1 || dropped[frame]) {
        to[i] = -1;
        ignored.nodes++;
        ignored.value += tree.self[i]!;
        continue;
      }
      if (to[p] === -2) {
        to[i] = -2;
      } else if (sealed[p]) {
        sealed[i] = 1;
        to[i] = to[p]!;
        joined++;
      } else if ((library && library[frame] !== '' && p > 0 && library[tree.frame[p]!] === library[frame]) ||
        (names && p > 0 && names[tree.frame[p]!] === names[frame])) {
        to[i] = to[p]!;
        joined++;
        if (closed[frame]) sealed[i] = 1;
      } else if (kept && !kept[i]) {
        to[i] = -2; // off the focus, as all that it calls
      } else {
        to[i] = made.child(to[p]!, frame, tree.origin[i]!);
        if (closed[frame]) sealed[i] = 1;
      }
    }
    if (kept && kept[i] !== 2) {
      if (to[i] === -2) focused.nodes++;
      focused.value += tree.self[i]!;
      continue;
    }
    const node = to[i]!;
    made.self[node]! += tree.self[i]!;
    made.samples[node]! += tree.selfSamples[i]!;
    made.base[node]! += tree.baseSelf[i]!;
  }
  return {
    tree: treeFrom(tree, made), joined,
    focused: wanted.focus ? focused : null,
    ignored: wanted.ignore.length > 0 ? ignored : null,
  };
}

/** What a name list in the address holds; names of functions contain no semicolon that stands alone. */
export function namesIn(text: string): string[] {
  return text.split(';').filter(Boolean);
}

export function nodeName(tree: CallTree, node: number): string {
  return frameOf(tree, node)[0];
}
