--- Routes: who is told about an alert, when, and when not.

local core = require "si.core"
local fields = require "si.fields"

local M = {}

local labels = { "app", "environment", "host", "rule", "severity", "subject" }
local kinds = { "slack", "email", "webhook", "pagerduty" }

local label_fields = {}
for _, label in ipairs(labels) do
  label_fields[label] = { kind = "list", item = { kind = "string", max = 255 } }
end

local route_fields = {
  --- destinations: "slack:NAME", "email:NAME", "webhook:NAME", "pagerduty:NAME", or a name of the channels file; {}: nobody
  to = { kind = "list", item = { kind = "string", max = 95 } },
  --- labels that the alert must have: app, environment, host, rule, severity, subject; * stands for any text
  match = { kind = "table", fields = label_fields, default = {} },
  --- alerts that agree in these labels travel in one message; { "app", "rule" } without it
  group_by = { kind = "list", item = { kind = "choice", of = labels } },
  wait = { kind = "duration", max = "1h" }, --- gather this long before a group's first message; "30s" without it
  interval = { kind = "duration", min = "1s", max = "1d" }, --- then at most one message this often; "5m" without it
  resend = { kind = "duration", min = "1m", max = "30d" }, --- say it again this often while it fires; "4h" without it
  continue = { kind = "boolean", default = false }, --- look at the next route too
  escalate = { --- whom to tell when it goes on for long
    kind = "list",
    item = {
      kind = "table",
      fields = {
        after = { kind = "duration", required = true, min = "1s", max = "7d" }, --- when it has fired for this long
        unless = { kind = "choice", of = { "acked" } }, --- not when somebody has acknowledged it
        to = { kind = "list", item = { kind = "string", max = 95 }, required = true }, --- to whom
      },
    },
    default = {},
  },
}

local top_defaults = { to = {}, group_by = { "app", "rule" }, wait = 30000, interval = 300000, resend = 4 * 3600000 }

--- "kind:name" with a kind that can be delivered to, or a name that the channels file gives to one or several of them.
local function check_destinations(list, at)
  for _, to in ipairs(list or {}) do
    local kind, name = to:match "^([^:]*):(.*)$"
    local known = not kind
    for _, k in ipairs(kinds) do known = known or k == kind end
    if not known then
      local near = fields.nearest(kind, kinds, 3)
      fields.problem(at, "to", 'destination "' .. to .. '": unknown kind "' .. kind .. '"; known are ' .. table.concat(kinds, ", ") ..
        (near and ('. Did you mean "' .. near .. ":" .. name .. '"?') or ""))
    elseif not (name or to):find "^[%w_][%w_.-]*$" then
      fields.problem(at, "to", 'destination "' .. to .. '": a name is letters, digits, _ . or -, such as "slack:perf" or "default"')
    end
  end
end

local function is_empty(t) return next(t) == nil end

--- Reads one node and its children into a plain tree, inheriting what is not said.
local function node(t, parent, at)
  local r = fields.check(route_fields, t, at, true)
  for name in pairs(top_defaults) do
    if r[name] == nil then r[name] = parent[name] end
  end
  r.match = r.match or {}
  r.escalate = r.escalate or {}
  check_destinations(t.to and r.to, at)
  for _, step in ipairs(r.escalate) do check_destinations(step.to, at) end
  r.file, r.line, r.children = at.file, at.line, {}
  for i, child in ipairs(t) do
    if type(child) ~= "table" then
      fields.problem(at, nil, "nested route " .. i .. " is not a table { ... }")
    else
      r.children[#r.children + 1] = node(child, r, { file = at.file, line = at.line, what = at.what .. ", nested route " .. i })
    end
  end
  return r
end

--- route { to = "slack:perf", { match = { severity = "critical" }, to = "pagerduty:core" } }: who is told. Nested
-- routes inherit what they do not say; the deepest that matches is taken.
function M.word(set)
  return function(t)
    local at = fields.at("route")
    if set.closed then error("routes are declared when the file is loaded, not later", 2) end
    if type(t) ~= "table" then return fields.problem(at, nil, "write route { ... }") end
    set.routes[#set.routes + 1] = node(t, top_defaults, at)
  end
end

local inhibit_fields = {
  source = { kind = "table", fields = label_fields, required = true }, --- labels of the alert that silences others
  target = { kind = "table", fields = label_fields, required = true }, --- labels of those others
  equal = { kind = "list", item = { kind = "choice", of = labels }, default = {} }, --- labels in which both agree
}

--- inhibit { source = { rule = "agent_down" }, target = { severity = "warning" }, equal = { "app", "host" } }: while the one
-- fires, nothing is sent about the others.
function M.inhibit(set)
  return function(t)
    local at = fields.at("inhibit")
    if set.closed then error("inhibits are declared when the file is loaded, not later", 2) end
    if type(t) ~= "table" then return fields.problem(at, nil, "write inhibit { ... }") end
    local i, failed = fields.check(inhibit_fields, t, at)
    if failed then return end
    if is_empty(i.source) then return fields.problem(at, "source", "an empty source would match every alert") end
    i.file, i.line = at.file, at.line
    set.inhibits[#set.inhibits + 1] = i
  end
end

-- ---- Routes that can never match ----------------------------------------------------------------------------------

local function glob_to_pattern(glob)
  return "^" .. glob:gsub("[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0"):gsub("%*", ".*") .. "$"
end

local function check_known(match, set, at)
  for _, wanted in ipairs(match.rule or {}) do
    local found, names = false, set.known_rules
    for _, name in ipairs(names) do found = found or name:find(glob_to_pattern(wanted)) ~= nil end
    if not found and not set.has_other_rules then
      local near = fields.nearest(wanted, names)
      -- a slip of the keyboard is an error; otherwise the rule may just have been taken out of its file
      fields.problem(at, "rule", 'no rule is called "' .. wanted .. '"' .. (near and ('. Did you mean "' .. near .. '"?') or ""),
        near and "error" or "warning")
    end
  end
  for _, wanted in ipairs(match.severity or {}) do
    if not wanted:find "%*" and wanted ~= "critical" and wanted ~= "warning" and wanted ~= "info" then
      fields.problem(at, "severity", 'no severity is called "' .. wanted .. '"; known are critical, warning, info')
    end
  end
end

--- True when no alert could satisfy both: a label for which both name exact values, none in common.
local function contradicts(a, b)
  for label, values in pairs(a) do
    local common = not b[label]
    for _, v in ipairs(values) do
      for _, w in ipairs(b[label] or {}) do
        common = common or v == w or v:find("*", 1, true) ~= nil or w:find("*", 1, true) ~= nil
      end
    end
    if not common then return label end
  end
end

local function takes_all(r) return is_empty(r.match) and not r.continue end

--- Top-level routes that take every alert: no later one, in whatever file, can match.
function M.catch_alls(set)
  local out = {}
  for _, r in ipairs(set.routes) do
    if takes_all(r) then out[#out + 1] = { file = r.file, line = r.line } end
  end
  return out
end

--- The first route of an earlier file that takes every alert.
local function taken_before(r, catch_alls)
  for _, other in ipairs(catch_alls) do
    if other.place < core.place(r.file) then return other end
  end
end

local function check_siblings(list, ancestors, set)
  local all_taken_by
  for i, r in ipairs(list) do
    if #ancestors == 0 then all_taken_by = all_taken_by or taken_before(r, set.catch_alls) end
    local at = { file = r.file, line = r.line, what = #ancestors == 0 and "route" or "nested route " .. i }
    check_known(r.match, set, at)
    if all_taken_by then
      fields.problem(at, nil, "can never match: the one before it, at " .. all_taken_by.file .. ":" .. all_taken_by.line ..
        ", takes every alert")
    end
    for _, above in ipairs(ancestors) do
      local label = contradicts(r.match, above.match)
      if label then fields.problem(at, label, 'can never match: its "' .. label .. '" contradicts the route around it') end
    end
    if takes_all(r) then all_taken_by = all_taken_by or r end
    local below = { table.unpack(ancestors) }
    below[#below + 1] = r
    check_siblings(r.children, below, set)
  end
end

--- After all files are loaded: what only the whole set can tell.
function M.finish(set, others)
  set.known_rules, set.catch_alls = others.names, others.catch_alls
  check_siblings(set.routes, {}, set)
  for _, i in ipairs(set.inhibits) do
    local at = { file = i.file, line = i.line, what = "inhibit" }
    check_known(i.source, set, at)
    check_known(i.target, set, at)
  end
end

return M
