--- Cadence: how often things are measured and reported.

local fields = require "si.fields"

local M = {}

local cadence_fields = {
  metrics = { kind = "duration", default = "60s", min = "1s", max = "1h" }, --- time between two readings of the metrics
  report = { kind = "duration", default = "2m", min = "5s", max = "1h" }, --- time between two reports to the dashboard
  cpu = { --- when CPU is sampled
    kind = "table",
    default = {},
    fields = {
      hz = { kind = "number", min = 0, max = 1000, default = 100 }, --- samples per second of CPU time and thread, during a span
      every = { kind = "duration", default = "8s", min = "1s", max = "1h" }, --- a span begins this often
      span = { kind = "duration", default = "2s", min = "100ms", max = "1h" }, --- and lasts this long; span = every: always on
      background_hz = { kind = "number", min = 0, max = 100, default = 10 }, --- samples per second between spans; 0: off
    },
  },
  heap = { --- when allocations are sampled
    kind = "table",
    default = {},
    fields = {
      --- mean bytes allocated between two samples of the heap profile; 0: off
      bytes = { kind = "size", default = "512KiB", min = "4KiB", max = "1GiB", or_zero = true },
    },
  },
  wait = { --- when waits are sampled: lock, network, system, channel
    kind = "table",
    default = {},
    fields = {
      --- mean time waited between two samples, during a span; "0ms": off
      mean = { kind = "duration", default = "10ms", min = "1ms", max = "10s", or_zero = true },
      every = { kind = "duration", default = "16s", min = "1s", max = "1h" }, --- a span begins this often
      span = { kind = "duration", default = "16s", min = "100ms", max = "1h" }, --- and lasts this long; span = every: always on
      --- the same between spans; "0ms": off there
      background_mean = { kind = "duration", default = "100ms", min = "1ms", max = "60s", or_zero = true },
    },
  },
  overhead = { --- what si may cost
    kind = "table",
    default = {},
    fields = {
      cpu = { kind = "number", min = 0.0001, max = 1, default = 0.01 }, --- share of one core that si may use; above it halves its rates
    },
  },
  when = { kind = "function" }, --- function(now, host) that returns a table of changes, or nil; asked once a minute
}

local function flat(c)
  return {
    metrics_ms = c.metrics, report_ms = c.report,
    cpu_hz = c.cpu.hz, cpu_background_hz = c.cpu.background_hz, cpu_every_ms = c.cpu.every, cpu_span_ms = c.cpu.span,
    overhead_cpu = c.overhead.cpu,
    heap_bytes = math.floor(c.heap.bytes),
    wait_mean_ms = c.wait.mean, wait_background_ms = c.wait.background_mean, wait_every_ms = c.wait.every, wait_span_ms = c.wait.span,
  }
end

local function merged(base, over)
  local out = {}
  for k, v in pairs(base) do out[k] = v end
  for k, v in pairs(over) do
    out[k] = type(v) == "table" and type(base[k]) == "table" and merged(base[k], v) or v
  end
  return out
end

--- cadence { metrics = "60s", report = "2m" }: how often things are measured; once in all files.
function M.word(set)
  return function(t)
    local at = fields.at("cadence")
    if set.closed then error("the cadence is declared when the file is loaded, not later", 2) end
    if type(t) ~= "table" then return fields.problem(at, nil, "write cadence { ... }") end
    if set.cadence then
      return fields.problem(at, nil, "declared twice; the other one is at " .. set.cadence.file .. ":" .. set.cadence.line ..
        ". Name your file cadence.lua to replace the default one")
    end
    local c, failed = fields.check(cadence_fields, t, at)
    if failed then c = fields.check(cadence_fields, {}, at) end
    set.cadence = { base = flat(c), file = at.file, line = at.line }
    if not c.when then return end
    --- What holds now: the table, changed by what `when` returns. Called by the engine once a minute.
    set.cadence.now = function(now, host)
      local change = c.when(now, host)
      if change == nil then return nil end
      if type(change) ~= "table" then error("cadence: when must return a table or nil", 0) end
      local checked, wrong = fields.check(cadence_fields, merged(t, change), at)
      if wrong then error("cadence: when returned a wrong field", 0) end
      return flat(checked)
    end
  end
end

--- The cadence when no file declares one.
function M.default()
  return { base = flat((fields.check(cadence_fields, {}, { file = "", line = 0, what = "cadence" }))) }
end

return M
