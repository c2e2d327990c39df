--- Rules: the words rule, metrics, profiles, callsites, segments, errors and profile.

local core = require "si.core"
local fields = require "si.fields"
local metric = require "si.metric"

local M = {}

local subjects = { "metrics", "profiles", "callsites", "segments", "errors" }

local rule_fields = {
  severity = { kind = "choice", of = { "critical", "warning", "info" }, default = "warning" }, --- how bad it is
  summary = { kind = "text or function" }, --- one sentence, or function(series) that returns one; the rule's name without it
  runbook = { kind = "string", max = 1024, default = "" }, --- a URL: what to do about it
  watch = { kind = "made", by = { "metric" }, example = 'metric "name"' }, --- the one series it is about
  --- many series, an alert for each
  over = { kind = "made", by = subjects, example = "one of " .. table.concat(subjects, ", ") .. " { ... }" },
  --- function(series): true while something is wrong; a second result is shown as the alert's value
  when = { kind = "function", required = true, hint = 'when = function(s) return s:avg("5m") > 0.9 end' },
  clear = { kind = "function" }, --- function(series): true when it is over, asked while it fires; the opposite of `when` without it
  hold = { kind = "duration", default = "0s", max = "7d" }, --- `when` must be true for this long before it fires
  keep = { kind = "duration", default = "5m", max = "7d" }, --- `clear` must be true for this long before it is resolved
  every = { kind = "duration", default = "10s", min = "1s", max = "1d" }, --- how often it is evaluated
  --- what to do when there are no points any more; `keep` with `watch`, `resolve` with `over`
  no_data = { kind = "choice", of = { "keep", "fire", "resolve" } },
  no_data_after = { kind = "duration", default = "5m", min = "1s", max = "7d" }, --- how old the last point is then
  grace = { kind = "duration", default = "5m", max = "1d" }, --- after the start `no_data = "fire"` waits this long
  --- where it runs: in the observed process, or over all of an application
  at = { kind = "choice", of = { "agent", "dashboard" }, default = "agent" },
  enabled = { kind = "boolean", default = true }, --- false turns it off
  on_fire = { kind = "function" }, --- function(series) that returns profile { ... } or a list of them, taken when it fires
  attach = { kind = "function" }, --- function(series) that returns text or a list of lines for the details
}

--- rule "name" { watch = metric "load", when = function(s) return s:avg("5m") > 1 end }: what is an anomaly.
function M.word(set)
  return function(name)
    local at = fields.at("rule " .. (type(name) == "string" and '"' .. name .. '"' or tostring(name)))
    if set.closed then error("rules are declared when the file is loaded, not later", 2) end
    local named = type(name) == "string" and #name <= 63 and name:find "^[%w_][%w_.-]*$"
    if not named then
      fields.problem(at, nil, "a rule's name is 1 to 63 letters, digits, _ . or -")
    elseif set.rule_named[name] then
      local other = set.rule_named[name]
      fields.problem(at, nil, "declared twice; the other one is at " .. other.file .. ":" .. other.line)
      named = false
    end
    set.open[at] = true
    return function(t)
      set.open[at] = nil
      if type(t) ~= "table" then return fields.problem(at, nil, 'write rule "name" { ... }') end
      local r, failed = fields.check(rule_fields, t, at)
      if (t.watch == nil) == (t.over == nil) then
        fields.problem(at, nil, "needs either watch or over, and not both")
        failed = true
      end
      if not named or failed then
        if named then set.rule_named[name] = at end
        return
      end
      r.name, r.file, r.line = name, at.file, at.line
      r.summary = r.summary or name
      r.no_data = r.no_data or (r.over and "resolve" or "keep") -- a call site or a segment may be gone for good
      set.rule_named[name] = r
      set.rules[#set.rules + 1] = r
    end
  end
end

local function one_or_pattern(word)
  return function(v)
    local at = fields.at(word)
    local pattern = v
    if type(v) == "table" then pattern = v[1] end
    if pattern == nil then pattern = ".*" end
    local why = type(pattern) ~= "string" and "expected a Lua pattern in quotes" or core.pattern_error(pattern)
    if why then fields.problem(at, nil, why) pattern = ".*" end
    return fields.mark({ kind = word, pattern = pattern }, word)
  end
end

--- metrics "queue%..*": every metric whose whole name matches the pattern.
M.metrics = one_or_pattern "metrics"
--- segments "http .*": every segment whose whole name matches.
M.segments = one_or_pattern "segments"
--- errors "db .*": every group of errors that matches; a point is the errors of a minute.
M.errors = one_or_pattern "errors"

local profile_types = { "cpu", "heap", "alloc", "lock", "network", "system", "channel" }
local profile_choice = { kind = "choice", of = profile_types }

--- profiles { "cpu", "lock" }: each profile's total. cpu in percent of the available cores, heap in bytes in use, alloc in bytes
-- a second; lock, network, system and channel in milliseconds waited a second, by all threads together.
function M.profiles(t)
  local at = fields.at("profiles")
  local checked = fields.check({ types = { kind = "list", item = profile_choice } }, { types = t or profile_types }, at)
  return fields.mark({ kind = "profiles", names = checked.types or {} }, "profiles")
end

local callsite_fields = {
  profile = { kind = "choice", of = profile_types, default = "cpu" }, --- whose call sites
  top = { kind = "integer", min = 1, max = 1000, default = 200 }, --- how many of the largest
  min = { kind = "size", default = 0 }, --- and at least this large
}

--- callsites { profile = "heap", top = 200, min = "8MiB" }: the largest call sites of a profile, in the profile's unit.
function M.callsites(t)
  local at = fields.at("callsites")
  local c = fields.check(callsite_fields, type(t) == "table" and t or {}, at)
  c.kind = "callsites"
  return fields.mark(c, "callsites")
end

local profile_fields = {
  type = { kind = "choice", of = profile_types, default = "cpu" }, --- which profile
  hz = { kind = "number", min = 1, max = 1000, default = 250 }, --- samples a second, for cpu alone
  span = { kind = "duration", default = "10s", min = "1s", max = "60s" }, --- for this long
  before = { kind = "duration", default = "0s", max = "10m" }, --- and what was sampled in this time before
}

--- profile { type = "cpu", hz = 250, span = "10s", before = "2m" }: what on_fire may ask for. `hz` is for cpu alone.
function M.profile(t)
  if type(t) ~= "table" then error('write profile { type = "cpu", span = "10s" }', 2) end
  local p, failed = fields.check(profile_fields, t, fields.at("profile"))
  if failed then error("profile: a field is wrong", 2) end
  return fields.mark({ request = "profile", type = p.type, hz = p.hz, span_ms = p.span, before_ms = p.before }, "profile")
end

M.metric = metric.word

return M
