--- Segments: what a measured code segment is called, and which percentiles are kept.

local core = require "si.core"
local fields = require "si.fields"

local M = {}

local segment_fields = {
  name = { kind = "text or function" }, --- the new name, or function(name) that returns it
  profile_when = { kind = "function" }, --- function(segment): true takes a profile; it may return profile { ... } instead
  profile_every = { kind = "duration", default = "10m", min = "1m", max = "1d" }, --- least time between two of these profiles
  --- which of its durations are kept; at most 8
  percentiles = { kind = "list", item = { kind = "number", min = 1, max = 99.9 }, default = { 50, 95, 99 } },
}

--- segment "http .*" { name = function(n) return (n:gsub("/%d+", "/:id")) end }: what a measured segment is called.
-- The pattern must match the whole raw name. The first segment that matches is applied, in the order of files and lines.
function M.word(set)
  return function(pattern)
    local at = fields.at("segment " .. (type(pattern) == "string" and '"' .. pattern .. '"' or tostring(pattern)))
    if set.closed then error("segments are declared when the file is loaded, not later", 2) end
    local why = type(pattern) ~= "string" and "expected a Lua pattern in quotes" or core.pattern_error(pattern)
    if why then fields.problem(at, nil, why) end
    set.open[at] = true
    return function(t)
      set.open[at] = nil
      if type(t) ~= "table" then return fields.problem(at, nil, 'write segment "pattern" { ... }') end
      local s, failed = fields.check(segment_fields, t, at)
      if why or failed then return end
      if #s.percentiles > 8 then return fields.problem(at, "percentiles", "at most 8 percentiles") end
      s.pattern, s.file, s.line = pattern, at.file, at.line
      set.segments[#set.segments + 1] = s
      if s.profile_when then
        -- a rule that raises no alert: it only asks for profiles, of the segments that this one names
        set.rules[#set.rules + 1] = {
          name = ("profile_when " .. pattern):sub(1, 63), file = at.file, line = at.line, quiet = true, segment = #set.segments,
          severity = "info", runbook = "", over = { kind = "segments", pattern = pattern }, when = s.profile_when,
          hold = 0, keep = s.profile_every, every = 10000, no_data = "resolve", no_data_after = 300000, grace = 0, at = "agent",
          enabled = true,
        }
      end
    end
  end
end

return M
