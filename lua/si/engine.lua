--- Engine: gathers what the files declare into one set, which C then runs (runtime/script/engine.c keeps the state).
-- Loaded once per rule set; returns the words for a file's environment and, at the end, the whole set.

local core = require "si.core"
local cadence = require "si.cadence"
local rule = require "si.rule"
local route = require "si.route"
local segment = require "si.segment"
local slo = require "si.slo"

local set = {
  rules = {}, routes = {}, inhibits = {}, segments = {},
  thresholds = {}, -- durations below which calls of a segment are counted as good
  rule_named = {},
  open = {},  -- words that were given a name but no table yet
  has_other_rules = core.partial, -- a set of a few files: routes may name rules that are not in it
}

local engine = {}

--- The words a rule file can use; each file gets its own table.
function engine.words()
  return {
    cadence = cadence.word(set),
    rule = rule.word(set), metric = rule.metric, metrics = rule.metrics, profiles = rule.profiles, callsites = rule.callsites,
    segments = rule.segments, errors = rule.errors, profile = rule.profile,
    segment = segment.word(set), slo = slo.word(set),
    route = route.word(set), inhibit = route.inhibit(set),
  }
end

--- What the cross-checks of other files need to know of these: called when all files have run.
function engine.summary()
  local names = {}
  for _, r in ipairs(set.rules) do
    if not r.quiet then names[#names + 1] = { name = r.name, file = r.file, line = r.line } end
  end
  return { names = names, catch_alls = route.catch_alls(set), cadence = set.cadence }
end

--- Ends loading: cross-checks against what the other files have, then hands over the set.
-- `others` is nil when the files are started again and were checked before.
function engine.finish(others)
  for at in pairs(set.open) do
    core.problem("error", at.file, at.line, at.what .. ": its table { ... } is missing")
  end
  if others then route.finish(set, others) end
  local out = { rules = set.rules, routes = set.routes, inhibits = set.inhibits, segments = set.segments,
    thresholds = set.thresholds, cadence = set.cadence,
    default_cadence = cadence.default().base }
  set.rules, set.routes, set.inhibits, set.segments, set.rule_named, set.open, set.thresholds = {}, {}, {}, {}, {}, {}, {}
  set.closed = true
  return out
end

return engine
