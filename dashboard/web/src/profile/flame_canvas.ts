// Draws a flame graph on a canvas and animates its zoom. Knows nothing of the page around it: flame.tsx feeds it and listens.
import {token} from '../app/theme';
import type {CallTree} from './call_tree';
import {frameOf, isNoise, nameOf} from './call_tree';
import type {FlameLayout} from './flame_layout';
import {nodeAt, visitRow} from './flame_layout';
import {kindOf} from './names';

export const FLAME_ROW = 19;
const FONT_PX = 11;
const ZOOM_MS = 160;

export interface FlameScene {
  tree: CallTree;
  layout: FlameLayout;
  baseScale: number;
  hit: Uint8Array | null; // of the search
  hover: number;
  active: number;
}

interface Span {
  from: number;
  to: number;
}

/* The colours of one theme, and per frame its colour: read once, not once per rectangle. */
interface Paint {
  frame: string[];
  font: string;
  lib: string;
  ink: string;
  dim: string;
  line: string;
  hit: string;
  accent: string;
  dust: string;
  surface: string;
  characterWidth: number;
  more: [number, number, number];
  less: [number, number, number];
  same: [number, number, number];
}

function rgb(text: string): [number, number, number] {
  const value = parseInt(text.slice(1), 16);
  return [value >> 16 & 255, value >> 8 & 255, value & 255];
}

function blend(from: [number, number, number], to: [number, number, number], t: number): string {
  return `rgb(${from.map((c, i) => Math.round(c + (to[i]! - c) * t)).join(',')})`;
}

export class FlameCanvas {
  private context: CanvasRenderingContext2D | null = null;
  private scene: FlameScene | null = null;
  private paint: Paint | null = null;
  private span: Span = {from: 0, to: 1};
  private target: Span = {from: 0, to: 1};
  private started = 0;
  private start: Span = {from: 0, to: 1};
  private frameRequest = 0;
  private width = 0;
  private height = 0;
  private scrollTop = 0;
  private drawn = 0;
  /** Milliseconds that the last draw took; tests and curious people read it. */
  lastDrawMs = 0;

  constructor(private readonly canvas: HTMLCanvasElement) {}

  get view(): Span {
    return this.target;
  }

  setScene(scene: FlameScene): void {
    const sameTree = this.scene?.tree === scene.tree;
    this.scene = scene;
    if (!sameTree) this.paint = null;
    this.request();
  }

  themeChanged(): void {
    this.paint = null;
    this.request();
  }

  resize(width: number, height: number): void {
    if (width === this.width && height === this.height) return;
    this.width = width;
    this.height = height;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.height = `${height}px`;
    this.request();
  }

  scrollTo(top: number): void {
    this.scrollTop = top;
    this.request();
  }

  /** Moves to a span of values, at once or in a short glide. */
  show(span: Span, animate: boolean): void {
    this.target = span;
    const still = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
    if (!animate || still) {
      this.span = span;
      this.started = 0;
    } else {
      this.start = this.span;
      this.started = performance.now();
    }
    this.request();
  }

  /** The node under a point of the canvas, or -1. */
  at(x: number, y: number): number {
    const scene = this.scene;
    if (!scene) return -1;
    const row = scene.layout.rows[Math.floor((y + this.scrollTop) / FLAME_ROW)];
    if (!row || x < 0 || x > this.width) return -1;
    return nodeAt(scene.layout, row, this.span.from + x / this.width * (this.span.to - this.span.from));
  }

  destroy(): void {
    window.cancelAnimationFrame(this.frameRequest);
  }

  private request(): void {
    if (this.frameRequest === 0) this.frameRequest = window.requestAnimationFrame((t) => this.draw(t));
  }

  private colours(scene: FlameScene, ctx: CanvasRenderingContext2D): Paint {
    if (this.paint) return this.paint;
    const kinds = {app: token('flame-app'), lib: token('flame-lib'), system: token('flame-system'), script: token('flame-script'), unknown: token('flame-unknown')};
    /* Neighbours of one kind differ a little in tone, always the same for the same name. */
    const tone = (name: string): number => {
      let h = 0;
      for (let i = 0; i < name.length; i++) h = (h * 31 + name.charCodeAt(i)) | 0;
      return (h >>> 0) % 5;
    };
    const surface = rgb(token('surface'));
    const font = `${FONT_PX}px ${token('mono')}`;
    ctx.font = font;
    this.paint = {
      frame: scene.tree.frames.map((frame) => blend(rgb(kinds[kindOf(frame)]), surface, tone(frame[0]) * 0.06)),
      font, characterWidth: ctx.measureText('MMMMMMMMMM').width / 10, surface: token('surface'), lib: kinds.lib, ink: token('flame-ink'), dim: token('flame-dim'), line: token('flame-line'), hit: token('flame-hit'),
      accent: token('accent-strong'), dust: token('flame-system'),
      more: rgb(token('diff-more')), less: rgb(token('diff-less')), same: rgb(token('diff-same')),
    };
    return this.paint;
  }

  private glide(t: number): boolean {
    if (this.started === 0) return false;
    const part = Math.min(1, Math.max(0, (t - this.started) / ZOOM_MS));
    const eased = 1 - (1 - part) ** 3;
    this.span = {
      from: this.start.from + (this.target.from - this.start.from) * eased,
      to: this.start.to + (this.target.to - this.start.to) * eased,
    };
    if (part >= 1) this.started = 0;
    return part < 1;
  }

  private fill(scene: FlameScene, paint: Paint, node: number): string {
    if (node === 0) return blend(paint.same, paint.same, 0);
    const {tree} = scene;
    if (tree.hasBase) {
      const before = tree.base[node]! * scene.baseScale;
      const after = tree.total[node]!;
      const moved = (after - before) / Math.max(after, before, 1e-9);
      if (isNoise(tree, after, before) || Math.abs(moved) < 0.05) return blend(paint.same, paint.same, 0);
      return blend(paint.same, moved > 0 ? paint.more : paint.less, Math.min(1, 0.25 + Math.abs(moved)));
    }
    if (scene.hit) return scene.hit[node] ? paint.hit : paint.dim;
    return paint.frame[tree.frame[node]!] ?? paint.lib;
  }

  private draw(t: number): void {
    this.frameRequest = 0;
    const scene = this.scene;
    const ctx = this.context ??= this.canvas.getContext('2d', {alpha: false}); // nothing shines through: painting is cheaper
    if (!scene || !ctx || this.width === 0) return;
    const begun = performance.now();
    const moving = this.glide(t);
    const ratio = window.devicePixelRatio || 1;
    const paint = this.colours(scene, ctx);
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.fillStyle = paint.surface;
    ctx.fillRect(0, 0, this.width, this.height);
    ctx.font = paint.font;
    ctx.textBaseline = 'middle';
    const firstRow = Math.max(0, Math.floor(this.scrollTop / FLAME_ROW));
    const lastRow = Math.min(scene.layout.rows.length, Math.ceil((this.scrollTop + this.height) / FLAME_ROW));
    this.drawn = 0;
    for (let depth = firstRow; depth < lastRow; depth++) this.drawRow(ctx, scene, paint, depth);
    this.lastDrawMs = performance.now() - begun;
    this.canvas.dataset['drawMs'] = this.lastDrawMs.toFixed(2);
    this.canvas.dataset['drawn'] = String(this.drawn);
    if (moving) this.request();
  }

  private drawRow(ctx: CanvasRenderingContext2D, scene: FlameScene, paint: Paint, depth: number): void {
    const y = depth * FLAME_ROW - this.scrollTop;
    const {tree, layout} = scene;
    visitRow(layout, layout.rows[depth]!, this.span.from, this.span.to, this.width, {
      node: (node, start, end) => {
        this.drawn++;
        /* Whole pixels: without soft edges a rectangle costs a third. */
        const left = Math.round(start);
        const width = Math.max(1, Math.round(end) - left);
        const whole = width > 3 ? width - 1 : width; // a hairline between neighbours
        ctx.fillStyle = this.fill(scene, paint, node);
        ctx.fillRect(left, y, whole, FLAME_ROW - 1);
        if (node === scene.active || node === scene.hover) {
          ctx.strokeStyle = paint.accent;
          ctx.lineWidth = node === scene.active ? 2 : 1;
          ctx.strokeRect(left + 1, y + 1, Math.max(1, whole - 2), FLAME_ROW - 3);
        }
        const room = Math.floor((whole - 7) / paint.characterWidth);
        if (room < 3) return;
        const name = nameOf(tree, node);
        ctx.fillStyle = paint.ink;
        ctx.globalAlpha = scene.hit && !scene.hit[node] ? 0.55 : 1;
        ctx.fillText(name.length <= room ? name : name.slice(0, room - 1) + '…', left + 4, y + FLAME_ROW / 2);
        ctx.globalAlpha = 1;
      },
      dust: (left, right) => {
        this.drawn++;
        ctx.fillStyle = paint.dust;
        ctx.fillRect(left, y, Math.max(1, right - left), FLAME_ROW - 1);
      },
    });
  }
}

export function describe(tree: CallTree, node: number): string {
  const frame = frameOf(tree, node);
  return frame[0] === '' ? nameOf(tree, node) : frame[0];
}
