// Where every node of a flame graph lies, and which of them a view has to draw. Nodes of one depth are kept in order of x, so a
// row is cut to what is visible by binary search and to what is at least a pixel wide by skipping ahead: the cost of a frame
// follows the number of pixels, not of nodes.
import type {CallTree} from './call_tree';

export interface FlameLayout {
  x: Float64Array; // start of each node, in the unit of its value
  rows: Int32Array[]; // node ids by depth, in order of x
  width: Float64Array;
}

export function layoutFlame(tree: CallTree): FlameLayout {
  const x = new Float64Array(tree.size);
  const width = tree.total;
  const counts = new Int32Array(tree.maxDepth + 2);
  for (let i = 0; i < tree.size; i++) counts[tree.depth[i]!]!++;
  const rows: Int32Array[] = [];
  for (let d = 0; d <= tree.maxDepth; d++) rows.push(new Int32Array(counts[d]!));
  const fill = new Int32Array(tree.maxDepth + 2);
  const walk: number[] = [0];
  while (walk.length > 0) {
    const node = walk.pop()!;
    const depth = tree.depth[node]!;
    rows[depth]![fill[depth]!++] = node;
    let at = x[node]!;
    const children: number[] = [];
    for (let c = tree.first[node]!; c >= 0; c = tree.next[c]!) {
      x[c] = at;
      at += width[c]!;
      children.push(c);
    }
    for (let i = children.length - 1; i >= 0; i--) walk.push(children[i]!);
  }
  return {x, rows, width};
}

/** First position in `row` whose node ends after `value`. */
export function firstEndingAfter(layout: FlameLayout, row: Int32Array, value: number, from = 0): number {
  let low = from;
  let high = row.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const node = row[middle]!;
    if (layout.x[node]! + layout.width[node]! > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

export interface Visit {
  node: (node: number, left: number, right: number) => void; // pixels
  dust: (left: number, right: number) => void; // nodes too narrow to tell apart
}

/** Calls `visit` for what one row shows of [from, to) on `pixels` pixels, left to right. */
export function visitRow(layout: FlameLayout, row: Int32Array, from: number, to: number, pixels: number, visit: Visit): void {
  const scale = pixels / (to - from);
  let dustFrom = -1;
  let dustTo = -1;
  for (let i = firstEndingAfter(layout, row, from); i < row.length;) {
    const node = row[i]!;
    const start = layout.x[node]!;
    if (start >= to) break;
    const left = (start - from) * scale;
    const right = left + layout.width[node]! * scale;
    if (right - left >= 1) {
      visit.node(node, Math.max(left, 0), Math.min(right, pixels));
      i++;
      continue;
    }
    if (layout.width[node]! <= 0) {
      i++;
      continue;
    }
    if (left > dustTo + 1) {
      if (dustFrom >= 0) visit.dust(dustFrom, dustTo);
      dustFrom = Math.floor(left);
    }
    dustTo = Math.min(Math.floor(left) + 1, pixels);
    const skip = firstEndingAfter(layout, row, from + (Math.floor(left) + 1) / scale, i + 1);
    /* A wide node may start within this pixel: the search finds the first that ends after it, so none is lost. */
    i = Math.max(i + 1, skip);
  }
  if (dustFrom >= 0) visit.dust(dustFrom, dustTo);
}

export function nodeAt(layout: FlameLayout, row: Int32Array, value: number): number {
  const i = firstEndingAfter(layout, row, value);
  const node = row[i];
  return node !== undefined && layout.x[node]! <= value ? node : -1;
}
