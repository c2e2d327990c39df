--- si.testing: specs for rule files, with a fake clock and made-up series, on the engine and history of the product itself.
-- Runs under busted with Lua 5.4 (`busted --lua=/usr/bin/lua5.4`); needs si/testing_core.so on the C path.
-- @usage
-- local t = require "si.testing"
-- describe("cpu_high", function()
--   it("fires after five minutes", function()
--     t.load "rules/health.lua"
--     t.series { metric = "process.cpu.utilization", "0.9 x 60", every = "10s" }
--     t.advance "6m"
--     assert.fires "cpu_high"
--   end)
-- end)

local core = require "si.testing_core"

local t = {}

local START_MS = 1700000000000 -- any time will do, as long as it is the same for everyone: 2023-11-14 22:13:20 UTC
local engine, now_ms, first_ms
local pending = {}   -- points not fed yet: { time_ms, kind, name, value, order }
local history = {}   -- every event so far
local order = 0

local function duration(text)
  local ms = type(text) == "string" and core.duration(text)
  if not ms then error('expected a duration such as "5m", got ' .. tostring(text), 3) end
  return ms
end

local function drain()
  for _, event in ipairs(engine:events()) do
    event.at_ms = now_ms
    history[#history + 1] = event
  end
end

--- Starts afresh: no rules, no series, no alerts. `load` does it too.
-- @param options app, environment, host, cpu_quota (cores), dashboard = true (run the rules with at = "dashboard")
function t.reset(options)
  if engine then engine:close() end
  engine = core.new(options or {})
  now_ms, first_ms = START_MS, START_MS
  pending, history, order = {}, {}, 0
  return t
end

local function read(path)
  local file, why = io.open(path, "r")
  if not file then error(why, 3) end
  local text = file:read "a"
  file:close()
  return text
end

local function load_all(sources)
  local ok, problems = engine:load(sources)
  drain()
  if not ok then return nil, problems end
  return true
end

--- Loads these rule files and nothing else, into a fresh engine. Problems are an error with file and line.
-- @param ... paths; a table of options for `reset` may come first
function t.load(...)
  local paths, sources = { ... }, {}
  local options = type(paths[1]) == "table" and table.remove(paths, 1) or nil
  t.reset(options)
  for i, path in ipairs(paths) do sources[i] = { path:match "[^/]*$", path, read(path) } end
  local ok, problems = load_all(sources)
  if not ok then error(problems, 2) end
  return t
end

--- Loads rules from text into a fresh engine: returns true, or nil and the problems.
function t.load_text(text, name)
  t.reset()
  return t.reload_text(text, name)
end

--- Replaces the rules and keeps series, clock and alerts, as when a file is saved: true, or nil and the problems.
function t.reload_text(text, name)
  name = name or "spec.lua"
  return load_all { { name, name, text } }
end

--- Several texts at once: t.reload_files { ["a.lua"] = "...", ["b.lua"] = "..." }
function t.reload_files(files)
  local names, sources = {}, {}
  for name in pairs(files) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do sources[i] = { name, name, files[name] } end
  return load_all(sources)
end

--- Loads a directory over the built-in defaults, as the product does: true, or nil and the problems. nil: the defaults.
function t.load_dir(dir)
  t.reset()
  return t.reload_dir(dir)
end

--- The same into the running engine.
function t.reload_dir(dir)
  local ok, problems = engine:load_dir(dir)
  drain()
  return ok, problems
end

--- What `si rules check DIR` finds: number of problems, list of lines.
t.check = core.check

-- ---- Series -------------------------------------------------------------------------------------------------------

local kinds = { "metric", "profile", "callsite", "segment", "error" }

--- Repeatable noise between -1 and 1.
local function noise(seed)
  local x = (seed * 2654435761 + 974711) % 4294967296
  x = (x ~ (x >> 15)) * 2246822519 % 4294967296
  return (x ~ (x >> 13)) / 2147483648 - 1
end

--- "0.9 x 30", "0.2 .. 0.9 x 30" (a ramp), "5 ~ 1 x 60" (5, give or take 1), "_ x 5" (gaps), or a plain number.
local function expand(part, out)
  if type(part) == "number" then
    out[#out + 1] = part
    return
  end
  local value, count = part:match "^%s*(.-)%s*x%s*(%d+)%s*$"
  value, count = value or part:match "^%s*(.-)%s*$", tonumber(count or 1)
  local from, to = value:match "^(%S+)%s*%.%.%s*(%S+)$"
  local middle, spread = value:match "^(%S+)%s*~%s*(%S+)$"
  for i = 1, count do
    local v
    if value == "_" then
      v = false
    elseif from then
      local a, b = tonumber(from), tonumber(to)
      v = a and b and (count == 1 and a or a + (b - a) * (i - 1) / (count - 1))
    elseif middle then
      local m, s = tonumber(middle), tonumber(spread)
      v = m and s and m + s * noise(#out + 1)
    else
      v = tonumber(value)
    end
    if v == nil then error('cannot read "' .. part .. '": write "0.9 x 30", "0.2 .. 0.9 x 30", "5 ~ 1 x 60" or "_ x 5"', 0) end
    out[#out + 1] = v
  end
end

local function only_watched()
  local found
  for _, rule in ipairs(engine:rules()) do
    if not rule.watch or (found and found ~= rule.watch) then
      error('name the series, such as t.series { metric = "process.cpu.utilization", ... }: the rules watch several', 3)
    end
    found = rule.watch
  end
  if not found then error('name the series, such as t.series { metric = "...", ... }', 3) end
  return "metric", found
end

--- Schedules points from now on: t.series { metric = "process.cpu.utilization", "0.3 x 10", "0.9 x 30", every = "10s" }.
-- Instead of metric: profile = "cpu", callsite = "cpu|parse (app)", segment = "checkout|p95", error = "db". Without a name:
-- the one metric that all loaded rules watch. Nothing is fed before `advance`. `after = "5m"` starts later.
function t.series(s)
  if not engine then error("t.load comes first", 2) end
  local kind, name
  for _, k in ipairs(kinds) do
    if s[k] then kind, name = k, s[k] end
  end
  if not kind then kind, name = only_watched() end
  local every, start, values = duration(s.every or "10s"), now_ms + (s.after and duration(s.after) or 0), {}
  for _, part in ipairs(s) do expand(part, values) end
  if #values == 0 then error('no points: write t.series { metric = "...", "0.9 x 30" }', 2) end
  for i, value in ipairs(values) do
    order = order + 1
    if value then
      pending[#pending + 1] = { time_ms = start + i * every, kind = kind, name = name, value = value, order = order }
    end
  end
  table.sort(pending, function(a, b)
    if a.time_ms ~= b.time_ms then return a.time_ms > b.time_ms end
    return a.order > b.order
  end)
  return t
end

--- Moves the clock on in steps of a second (or `step`), feeding points and running the rules.
function t.advance(by, step)
  if not engine then error("t.load comes first", 2) end
  local target, step_ms = now_ms + duration(by), step and duration(step) or 1000
  while now_ms < target do
    now_ms = math.min(now_ms + step_ms, target)
    while #pending > 0 and pending[#pending].time_ms <= now_ms do
      local p = table.remove(pending)
      engine:add(p.kind, p.name, p.time_ms, p.value)
    end
    engine:tick(now_ms)
    drain()
  end
  return t
end

--- Ends the agent and starts it again: series are kept, alerts come back from the saved state, rules are loaded anew.
function t.restart(...)
  local saved, series = engine:save()
  local kept, at = history, now_ms
  local feed = pending
  t.load(...)
  history, now_ms, pending = kept, at, feed
  local ok, why = engine:restore(saved, series, now_ms)
  if not ok then error(why, 2) end
  return t
end

-- ---- Looking ------------------------------------------------------------------------------------------------------

--- Every alert that is not inactive; `rule` and `subject` narrow it down.
function t.alerts(rule, subject)
  local out = {}
  for _, alert in ipairs(engine:alerts()) do
    if (not rule or alert.rule == rule) and (not subject or alert.subject == subject) then out[#out + 1] = alert end
  end
  return out
end

--- Events so far: kind is "alert", "notify", "cadence", "profile" or "log".
function t.events(kind)
  local out = {}
  for _, event in ipairs(history) do
    if not kind or event.kind == kind then out[#out + 1] = event end
  end
  return out
end

--- Messages sent so far; `to` narrows it down. Each has `to`, `alerts` and `at_ms`.
function t.messages(to)
  local out = {}
  for _, event in ipairs(t.events "notify") do
    if not to or event.to == to then out[#out + 1] = event end
  end
  return out
end

function t.rules() return engine:rules() end
function t.rule(name)
  for _, rule in ipairs(engine:rules()) do
    if rule.name == name then return rule end
  end
end

--- The newest cadence.
function t.cadence()
  local all = t.events "cadence"
  return all[#all]
end

--- What a segment is called, and its percentiles.
function t.segment(raw) return engine:segment(raw) end
--- Where an alert would go: t.route { rule = "cpu_high", severity = "critical" } -> "pagerduty:core"
function t.route(alert) return engine:route(alert) end
function t.ack(alert) return engine:ack(alert.fingerprint) end
function t.now() return now_ms end
--- What a rule sees now, as `si rules explain` prints it: a list of lines.
function t.explain(rule) return engine:explain(rule, now_ms) end

-- ---- Assertions ---------------------------------------------------------------------------------------------------

local function ago(ms)
  local s = (now_ms - ms) // 1000
  return s < 60 and ("%d s"):format(s) or ("%d min %d s"):format(s // 60, s % 60)
end

local function describe_rule(name, subject)
  local rule = t.rule(name)
  if not rule then
    local names = {}
    for _, r in ipairs(engine:rules()) do names[#names + 1] = r.name end
    return "no rule of that name is loaded; loaded are: " .. (#names > 0 and table.concat(names, ", ") or "none")
  end
  local lines = {}
  for _, a in ipairs(t.alerts(name, subject)) do
    lines[#lines + 1] = ("  %s%s for %s, value %g: %s"):format(a.state, a.subject ~= "" and (' about "' .. a.subject .. '"') or "",
      ago(a.state == "pending" and a.started_ms or a.state == "firing" and a.fired_ms or a.resolved_ms), a.value, a.summary)
  end
  if #lines == 0 then lines[1] = ("  inactive after %g evaluations%s"):format(rule.evaluations,
    rule.evaluations == 0 and " (no series matched)" or "") end
  if rule.error ~= "" then lines[#lines + 1] = "  its last error: " .. rule.error end
  if not rule.enabled then lines[#lines + 1] = "  it is not enabled" end
  for i, line in ipairs(engine:explain(name, now_ms)) do
    if i > 13 then
      lines[#lines + 1] = "  ..."
      break
    end
    if i > 1 then lines[#lines + 1] = line end -- the first is what we say ourselves
  end
  if rule.hold_ms > 0 then lines[#lines + 1] = ("  hold is %g s"):format(rule.hold_ms / 1000) end
  lines[#lines + 1] = ("  (%s:%d, %d s after the start)"):format(rule.file, rule.line, (now_ms - first_ms) // 1000)
  return table.concat(lines, "\n")
end

local function in_state(name, subject, state)
  for _, a in ipairs(t.alerts(name, subject)) do
    if a.state == state then return true end
  end
  return false
end

local function was_resolved(name, subject)
  local fired, resolved = false, false
  for _, event in ipairs(t.events "alert") do
    local a = event.alerts[1]
    if a.rule == name and (not subject or a.subject == subject) then
      if a.state == "firing" then fired, resolved = true, false end
      if a.state == "resolved" and fired then resolved = true end
    end
  end
  return resolved and not in_state(name, subject, "firing")
end

local function routed(to)
  return #t.messages(to) > 0
end

--- Adds assert.fires(rule [, subject]), assert.pends (or assert.pending), assert.resolves and assert.routes_to(destination) to luassert.
function t.install(assert, say)
  local function register(name, test, expected, expected_not, explain)
    say:set_namespace "en"
    say:set("assertion.si." .. name .. ".positive", expected .. "\n%s")
    say:set("assertion.si." .. name .. ".negative", expected_not .. "\n%s")
    assert:register("assertion", name, function(state, arguments)
      local result = test(arguments[1], arguments[2])
      local text = explain(arguments[1], arguments[2])
      -- luassert formats every argument; hand it ready text, and keep the name in front
      arguments[1], arguments[2] = setmetatable({ text = tostring(arguments[1]) .. "\n" .. text }, { si_text = true }), nil
      arguments.n = 1
      state.failure_message = nil
      return result
    end, "assertion.si." .. name .. ".positive", "assertion.si." .. name .. ".negative")
  end
  assert:add_formatter(function(value)
    local mt = type(value) == "table" and getmetatable(value)
    if mt and rawget(mt, "si_text") then return value.text end
  end)
  register("fires", function(name, subject) return in_state(name, subject, "firing") end,
    "Expected this rule to fire:", "Expected this rule not to fire:", describe_rule)
  register("pending", function(name, subject) return in_state(name, subject, "pending") end,
    "Expected this rule to be pending:", "Expected this rule not to be pending:", describe_rule)
  register("pends", function(name, subject) return in_state(name, subject, "pending") end,
    "Expected this rule to be pending:", "Expected this rule not to be pending:", describe_rule)
  register("resolves", was_resolved, "Expected this rule to have fired and to be resolved:",
    "Expected this rule not to be resolved:", describe_rule)
  register("routes_to", routed, "Expected a message to:", "Expected no message to:", function()
    local lines = {}
    for _, m in ipairs(t.messages()) do
      local names = {}
      for i, a in ipairs(m.alerts) do names[i] = a.rule .. " " .. a.state end
      lines[#lines + 1] = ("  sent to %s: %s"):format(m.to, table.concat(names, ", "))
    end
    return #lines > 0 and table.concat(lines, "\n") or "  nothing was sent to anybody"
  end)
end

local has_luassert, luassert = pcall(require, "luassert")
if has_luassert then t.install(luassert, require "say") end

return t
