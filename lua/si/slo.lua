--- Objectives: how many calls of a segment must be good, and how fast the rest may be used up.
-- An slo becomes one rule for each pair of windows: it fires while both burn the budget faster than `factor` times.

local core = require "si.core"
local fields = require "si.fields"

local M = {}

local slo_fields = {
  segment = { kind = "string", max = 95, required = true, hint = 'segment = "checkout"' }, --- the segment's name, as the dashboard shows it
  good = { --- which calls are good; one of the two, or both
    kind = "table",
    required = true,
    hint = 'good = { below = "250ms" } or good = { failed = false }',
    fields = {
      below = { kind = "duration", min = "1ms", max = "1h" }, --- those that take less
      failed = { kind = "choice", of = { false } }, --- false: those that do not fail
    },
  },
  target = { kind = "number", min = 0.5, max = 0.99999, required = true, hint = "target = 0.99" }, --- the share of good calls
  --- list of { factor, long window, short window, severity }; 14.4 over 1h and 5m, 6 over 6h and 30m, 1 over 3d and 6h without it
  burn = { kind = "list", item = { kind = "table" } },
  min_calls = { kind = "number", min = 1, default = 20 }, --- with fewer calls in a window nothing is said
  runbook = { kind = "string", max = 1024, default = "" }, --- a URL: what to do about it
  at = { kind = "choice", of = { "agent", "dashboard" }, default = "agent" }, --- where it runs
  enabled = { kind = "boolean", default = true }, --- false turns it off
}

local usual_burn = { { 14.4, "1h", "5m", "critical" }, { 6, "6h", "30m", "critical" }, { 1, "3d", "6h", "warning" } }
local severities = { critical = true, warning = true, info = true }

--- Checks one { factor, long, short, severity }; nil and why not.
local function check_burn(b)
  local factor, long, short, severity = b[1], b[2], b[3], b[4] or "critical"
  if type(factor) ~= "number" or factor ~= factor or factor <= 0 or factor == math.huge then return nil, "its first value is a factor above 0" end
  if type(long) ~= "string" or type(short) ~= "string" then return nil, 'its second and third values are windows, such as "1h" and "5m"' end
  local long_ms, why = core.duration(long)
  local short_ms, why_short = core.duration(short)
  if not long_ms or not short_ms then return nil, why or why_short end
  if short_ms < 60000 or long_ms <= short_ms then return nil, "the long window comes first, and the short one is at least 1m" end
  if long_ms > core.duration "7d" then return nil, "the long window is at most 7d" end
  if not severities[severity] then return nil, 'its last value is "critical", "warning" or "info"' end
  return { factor = factor, long = long, short = short, severity = severity }
end

local function compile(name, o, b)
  local budget, below, failed = 1 - o.target, o.good.below, o.good.failed == false
  local function burn(s, window)
    local calls = s:calls(window)
    if calls ~= calls or calls < o.min_calls then return 0 end
    local good = below and s:good(window, below) or calls
    if failed then good = good - s:errors(window) end
    if good < 0 then good = 0 end
    return (1 - good / calls) / budget
  end
  return {
    name = name .. ".burn." .. b.long, severity = b.severity, runbook = o.runbook, at = o.at, enabled = o.enabled,
    over = { kind = "segments", pattern = (o.segment:gsub("%p", "%%%0")) },
    when = function(s)
      local rate = burn(s, b.long)
      return rate > b.factor and burn(s, b.short) > b.factor, rate
    end,
    clear = function(s) return burn(s, b.short) <= b.factor end,
    summary = function(s)
      local rate = burn(s, b.long)
      return ("%s: %.2f %% of the calls of %s were good within %s (target %g %%): the budget burns %.1f times too fast"):format(
        name, 100 * (1 - rate * budget), s:name(), b.long, 100 * o.target, rate)
    end,
    hold = 0, keep = 120000, every = 30000, no_data = "resolve", no_data_after = 900000, grace = 300000,
  }
end

--- slo "checkout" { segment = "checkout", good = { below = "250ms" }, target = 0.99 }: an objective. It becomes a rule
-- "checkout.burn.1h" for each line of `burn`.
function M.word(set)
  return function(name)
    local at = fields.at("slo " .. (type(name) == "string" and '"' .. name .. '"' or tostring(name)))
    if set.closed then error("objectives are declared when the file is loaded, not later", 2) end
    local named = type(name) == "string" and #name <= 48 and name:find "^[%w_][%w_.-]*$"
    if not named then fields.problem(at, nil, "an objective's name is 1 to 48 letters, digits, _ . or -") end
    set.open[at] = true
    return function(t)
      set.open[at] = nil
      if type(t) ~= "table" then return fields.problem(at, nil, 'write slo "name" { ... }') end
      local o, wrong = fields.check(slo_fields, t, at)
      if not wrong and not o.good.below and o.good.failed == nil then
        fields.problem(at, "good", 'says nothing: write good = { below = "250ms" }, good = { failed = false } or both')
        wrong = true
      end
      local rules = {}
      for i, b in ipairs(o.burn or usual_burn) do
        local burn, why = check_burn(b)
        if not burn then fields.problem(at, "burn", "burn " .. i .. ": " .. why) end
        wrong = wrong or not burn
        if burn and not wrong then rules[#rules + 1] = compile(name, o, burn) end
      end
      if not named or wrong then return end
      for _, r in ipairs(rules) do
        r.file, r.line = at.file, at.line
        local other = set.rule_named[r.name]
        if other then
          return fields.problem(at, nil, "declared twice; the other one is at " .. other.file .. ":" .. other.line)
        end
        set.rule_named[r.name] = r
        set.rules[#set.rules + 1] = r
      end
      if o.good.below then
        set.thresholds[#set.thresholds + 1] = { segment = o.segment, below_ms = o.good.below }
      end
    end
  end
end

return M
