// How functions are written on screen: template arguments and long parameter lists fold to an ellipsis, modules lose their
// folders, and every frame belongs to one of five kinds, which colour it.
import type {Frame} from '../api/types';

export type Kind = 'app' | 'lib' | 'system' | 'script' | 'unknown';

export const KINDS: {kind: Kind; label: string}[] = [
  {kind: 'app', label: 'program'},
  {kind: 'lib', label: 'libraries'},
  {kind: 'system', label: 'C library and system'},
  {kind: 'script', label: 'Lua'},
  {kind: 'unknown', label: 'no symbols'},
];

const MAX_PARAMETERS = 24;

/* The end of the bracket that opens at `start`, or -1. "->" and the operators < << > >> open and close nothing. */
function closing(text: string, start: number, open: string, close: string): number {
  let depth = 0;
  for (let i = start; i < text.length; i++) {
    const c = text[i];
    if (c === open) depth++;
    else if (c === close && text[i - 1] !== '-') {
      depth--;
      if (depth === 0) return i;
    }
  }
  return -1;
}

function isWord(c: string | undefined): boolean {
  return c !== undefined && /[\w$~]/.test(c);
}

function skipOperator(text: string, i: number): number {
  const match = /^operator\s*(<=>|<<=|>>=|<<|>>|<=|>=|->\*|->|<|>|\(\))/.exec(text.slice(i, i + 14));
  return match ? match[0].length : 0;
}

/** `std::vector<int, std::allocator<int> >::push_back(int const&)` becomes `std::vector<…>::push_back(int const&)`. */
export function collapse(name: string): string {
  if (name.length > 4000) name = name.slice(0, 4000);
  let out = '';
  for (let i = 0; i < name.length;) {
    const operator = name[i] === 'o' && !isWord(name[i - 1]) ? skipOperator(name, i) : 0;
    if (operator > 0) {
      out += name.slice(i, i + operator);
      i += operator;
      continue;
    }
    if (name[i] === '<' && isWord(name[i - 1])) {
      const end = closing(name, i, '<', '>');
      if (end > i + 1) {
        out += '<…>';
        i = end + 1;
        continue;
      }
    }
    if (name[i] === '(' && isWord(name[i - 1]) || (name[i] === '(' && name[i - 1] === '>')) {
      const end = closing(name, i, '(', ')');
      if (end - i > MAX_PARAMETERS) {
        out += '(…)';
        i = end + 1;
        continue;
      }
    }
    out += name[i]!;
    i++;
  }
  return out;
}

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

const SYSTEM = /^(ld-linux|ld-musl|libc[.-]|libpthread|libm[.-]|libdl|librt|libgcc_s|linux-vdso|\[vdso\]|\[vsyscall\]|\[kernel|vmlinux)/;
const UNKNOWN = /^(\[?unknown\]?|\?+|0x[0-9a-f]+|\[.*\+0x[0-9a-f]+\]|)$/i; // agents write [libx.so+0x1f] for what has no symbol

export function kindOf(frame: Frame): Kind {
  const [fn, file, , path] = frame;
  const module = baseName(path);
  if (UNKNOWN.test(fn)) return 'unknown';
  if (/\.lua$/.test(file) || /\.lua$/.test(module) || module === 'lua' || module === '[lua]') return 'script';
  if (SYSTEM.test(module)) return 'system';
  if (/\.so(\.|$)/.test(module) || /^lib[\w+-]+$/.test(module)) return 'lib';
  return 'app';
}

/** Aggregates of what was left out must never look like a finding. */
export function isOther(fn: string): boolean {
  return /^[([<]?(other|others|hidden|truncated)[)\]>]?$/i.test(fn);
}

export function place(frame: Frame): string {
  const [fn, file, line, module] = frame;
  if (fn.startsWith('[') && fn.includes(`${baseName(module)}+0x`)) return ''; // the name says it: [libx.so+0x1f]
  if (file) return line > 0 ? `${baseName(file)}:${line}` : baseName(file);
  return baseName(module);
}

export function displayName(frame: Frame, folded: boolean): string {
  const fn = frame[0];
  if (fn === '' || fn === '?' || /^\[?unknown\]?$/i.test(fn)) return frame[3] ? `[no symbol] ${baseName(frame[3])}` : '[no symbol]';
  return folded ? collapse(fn) : fn;
}
