--- Metrics: the word `metric` and the names that si measures by itself (OpenTelemetry's semantic conventions).
-- Programs add their own with si_gauge_set and si_counter_add, so an unknown name is only suspicious when it is nearly one of these.

local fields = require "si.fields"

local metric = {}

-- As in collectors/process.c, host.c and lua_garbage.c, runtime/region_metrics.c and agent.c; spec/lua/metric_spec.lua compares.
metric.names = {
  "lua.c_calls.cpu_fraction",
  "lua.gc.count",
  "lua.gc.cpu_fraction",
  "lua.gc.pause",
  "lua.memory.usage",
  "process.channel.calls",
  "process.channel.longest_wait",
  "process.context_switches.involuntary",
  "process.context_switches.voluntary",
  "process.cpu.time",
  "process.cpu.time.system",
  "process.cpu.time.user",
  "process.cpu.utilization",
  "process.disk.io.read",
  "process.disk.io.write",
  "process.heap.allocated",
  "process.heap.allocations",
  "process.heap.idle",
  "process.heap.in_use",
  "process.heap.objects",
  "process.heap.releases",
  "process.lock.calls",
  "process.lock.longest_wait",
  "process.memory.usage",
  "process.memory.virtual",
  "process.network.calls",
  "process.network.longest_wait",
  "process.open_file_descriptor.count",
  "process.open_file_descriptor.utilization",
  "process.paging.faults.major",
  "process.paging.faults.minor",
  "process.system.calls",
  "process.system.longest_wait",
  "process.thread.count",
  "process.uptime",
  "container.cpu.limit",
  "container.cpu.throttled",
  "container.memory.limit",
  "container.memory.usage",
  "container.memory.utilization",
  "container.memory.working_set",
  "system.cpu.load_average.15m",
  "system.cpu.load_average.1m",
  "system.cpu.load_average.5m",
  "system.cpu.logical.count",
  "system.cpu.utilization",
  "system.cpu.utilization.idle",
  "system.cpu.utilization.interrupt",
  "system.cpu.utilization.iowait",
  "system.cpu.utilization.nice",
  "system.cpu.utilization.steal",
  "system.cpu.utilization.system",
  "system.cpu.utilization.user",
  "system.disk.io.read",
  "system.disk.io.write",
  "system.linux.psi.cpu.some",
  "system.linux.psi.io.full",
  "system.linux.psi.io.some",
  "system.linux.psi.memory.full",
  "system.linux.psi.memory.some",
  "system.memory.available",
  "system.memory.limit",
  "system.memory.usage",
  "system.memory.utilization",
  "system.network.errors",
  "system.network.io.receive",
  "system.network.io.transmit",
  "system.paging.faults.major",
  "system.paging.operations.in",
  "system.paging.operations.out",
  "system.paging.usage",
  "system.paging.utilization",
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
  local ours = name:match "^process%." or name:match "^system%." or name:match "^container%." or name:match "^lua%.gc%."
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
