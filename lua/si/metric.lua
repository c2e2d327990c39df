--- Metrics: the word `metric` and the names that si measures by itself (OpenTelemetry's semantic conventions).
-- Programs add their own with si_gauge_set and si_counter_add, so an unknown name is only suspicious when it is nearly one of these.

local fields = require "si.fields"

local metric = {}

metric.names = {
  "process.cpu.utilization",
  "process.memory.usage",
  "process.memory.virtual",
  "process.thread.count",
  "process.open_file_descriptor.count",
  "process.open_file_descriptor.utilization",
  "process.context_switches",
  "system.cpu.utilization",
  "system.memory.utilization",
  "container.memory.utilization",
}

local function near_builtin(name)
  local best, distance = fields.nearest(name, metric.names, 3)
  if distance and distance > 0 then return best end
end

--- Complains about names that look like slips of the keyboard.
function metric.check(name, at)
  for _, known in ipairs(metric.names) do
    if known == name then return end
  end
  local ours = name:match "^process%." or name:match "^system%." or name:match "^container%."
  local near = near_builtin(name)
  if near then
    fields.problem(at, nil, 'unknown metric "' .. name .. '". Did you mean "' .. near .. '"?', ours and "error" or "warning")
  elseif ours then
    fields.problem(at, nil, 'metric "' .. name .. '" is not one that si measures; fine if the program sets it itself', "warning")
  end
end

--- metric "process.cpu.utilization": the series a rule watches.
function metric.word(name)
  local at = fields.at("metric")
  if type(name) ~= "string" or name == "" or #name > 95 then
    fields.problem(at, nil, 'expected a name of 1 to 95 bytes, such as metric "process.cpu.utilization"')
    name = "?"
  else
    metric.check(name, at)
  end
  return fields.mark({ kind = "metric", name = name }, "metric")
end

return metric
