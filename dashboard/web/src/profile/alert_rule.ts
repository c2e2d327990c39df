// "Alert on this call": a rule file, ready to be saved among the agent's rules, that fires when one call gets heavier than it is
// now. Call sites are named as the agent names them: the function, and its library in brackets.
import type {Frame} from '../api/types';

/* Types that rules can watch call by call (docs/rules.md, callsites). */
const WATCHED = ['cpu', 'heap', 'lock', 'network', 'system', 'channel'];

export function canAlert(type: string): boolean {
  return WATCHED.includes(type);
}

/* As many whole characters as fit into `bytes`. */
function atMost(text: string, bytes: number): string {
  const encoded = new TextEncoder().encode(text);
  if (encoded.length <= bytes) return text;
  return new TextDecoder().decode(encoded.subarray(0, bytes)).replace(/\uFFFD$/, '');
}

export function callSite(frame: Frame): string {
  return atMost(frame[0], 120) + (frame[3] ? ` (${atMost(frame[3], 30)})` : '');
}

function quoted(text: string): string {
  return '"' + text.replace(/[\\"]/g, '\\$&').replace(/\r/g, '\\r').replace(/\n/g, '\\n').replace(/\0/g, '\\0') + '"';
}

function ruleName(type: string, fn: string): string {
  return `${type}_of_${fn.replace(/[^A-Za-z0-9]+/g, '_').replace(/^_+|_+$/g, '') || 'call'}`.slice(0, 60);
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
  return `-- ${callSite(frame).replace(/[\r\n]/g, ' ')} had ${rounded(heap ? now / 2 ** 20 : now)} ${unit} when this was written.
-- Save it as a file of its own in the agent's rules directory; "si rules check DIR" reads it first.
local CALL = ${quoted(callSite(frame))}
local LIMIT = ${limit} -- ${unit}

rule "${ruleName(type, frame[0])}" {
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
