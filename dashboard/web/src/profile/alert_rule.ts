// "Alert on this call": a rule file, ready to be saved among the agent's rules, that fires when one call gets heavier than it is
// now. Call sites are named as the agent names them: the function, and its library in brackets.
import type {Frame} from '../api/types';

/* Types that rules can watch call by call (docs/rules.md, callsites). */
const WATCHED = ['cpu', 'heap', 'lock', 'network', 'system', 'channel'];

export function canAlert(type: string): boolean {
  return WATCHED.includes(type);
}

const FUNCTION_BYTES = 120; // as the agent cuts them
const MODULE_BYTES = 30;

/* The first bytes of a text as a Lua string holds them: the agent counts bytes, so a character at the end may be cut in two. */
function literal(text: string, bytes: number): string {
  const encoded = new TextEncoder().encode(text).subarray(0, bytes);
  const whole = new TextDecoder().decode(encoded, {stream: true}); // keeps a character that is cut for later
  const cut = encoded.subarray(new TextEncoder().encode(whole).length);
  const escaped = (code: number): string => '\\x' + code.toString(16).padStart(2, '0');
  return Array.from(whole, (c) => c === '\\' || c === '"' ? '\\' + c : c < ' ' || c === '\x7f' ? escaped(c.charCodeAt(0)) : c).join('') + Array.from(cut, escaped).join('');
}

/** The call site as the agent names it, as a Lua string. */
export function callSite(frame: Frame): string {
  return `"${literal(frame[0], FUNCTION_BYTES)}${frame[3] ? ` (${literal(frame[3], MODULE_BYTES)})` : ''}"`;
}

const NAME_BYTES = 44; // with .lua as much as the name of a file of rules may have
const HASH_DIGITS = 6;

/** Names of rules are words; two functions whose names differ in other characters alone, or at their ends, get two rules. */
export function ruleName(type: string, frame: Frame): string {
  const words = frame[0].replace(/[^A-Za-z0-9]+/g, '_').replace(/^_+|_+$/g, '') || 'call';
  const name = `${type}_of_${words}`;
  if (words === frame[0] && name.length <= NAME_BYTES) return name;
  let hash = 5381;
  for (const c of frame[0] + '\n' + frame[3]) hash = (hash * 33 + c.codePointAt(0)!) % 0x1000000;
  return `${name.slice(0, NAME_BYTES - HASH_DIGITS - 1).replace(/_+$/, '')}_${hash.toString(16).padStart(HASH_DIGITS, '0')}`;
}

/* Two digits are enough for a limit that a person will change. */
function rounded(value: number): string {
  if (!(value > 0)) return '1';
  return String(Number(value.toPrecision(2)));
}

/** `now`: cpu and waits: percent of the cores; heap: bytes. The limit is half as much again. */
export function alertRule(type: string, frame: Frame, now: number): string {
  const heap = type === 'heap';
  const limit = heap ? rounded(Math.max(1, now * 1.5 / 2 ** 20)) : rounded(Math.max(0.1, now * 1.5));
  const unit = heap ? 'MiB' : '% of the cores';
  const value = heap ? 's:median_last(3) / 2^20' : 's:median_last(3)';
  return `-- ${callSite(frame)} had ${rounded(heap ? now / 2 ** 20 : now)} ${unit} when this was written.
-- Save it as a file of its own in the agent's rules directory; "si rules check DIR" reads it first.
local CALL = ${callSite(frame)}
local LIMIT = ${limit} -- ${unit}

rule "${ruleName(type, frame)}" {
  severity = "warning",
  summary = function(s) return ("%s is at %.1f ${unit.replace('%', '%%')}, the limit is %g"):format(s:name(), ${value}, LIMIT) end,
  over = callsites { profile = "${type}", top = 1000 },
  when = function(s) return s:name() == CALL and ${value} > LIMIT end,
  clear = function(s) return ${value} < 0.8 * LIMIT end,
  hold = "5m",
  keep = "10m",
}
`;
}
