--- Engine: gathers what the files declare into one set, which C then runs (runtime/script/engine.c keeps the state).
-- Loaded once per rule set; returns the words for a file's environment and, at the end, the whole set.

local core = require "si.core"
local cadence = require "si.cadence"
local rule = require "si.rule"
local route = require "si.route"
local segment = require "si.segment"

local set = {
  rules = {}, routes = {}, inhibits = {}, segments = {},
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
    segment = segment.word(set),
    route = route.word(set), inhibit = route.inhibit(set),
  }
end

--- Ends loading: cross-checks, then hands over the set.
function engine.finish()
  for at in pairs(set.open) do
    core.problem("error", at.file, at.line, at.what .. ": its table { ... } is missing")
  end
  route.finish(set)
  set.cadence = set.cadence or cadence.default()
  set.closed = true
  return set
end

return engine
