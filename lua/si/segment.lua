--- Segments: what a measured code segment is called, and which percentiles are kept.

local core = require "si.core"
local fields = require "si.fields"

local M = {}

local segment_fields = {
  name = { kind = "text or function" },
  percentiles = { kind = "list", item = { kind = "number", min = 1, max = 99.9 }, default = { 50, 95, 99 } },
}

--- segment "http .*" { name = function(n) return (n:gsub("/%d+", "/:id")) end }
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
    end
  end
end

return M
