-- The health of the process and of the machine it runs on.
-- `when` fires, `clear` resolves; `hold`: true for this long before it fires; `keep`: clear for this long before it resolves.

rule "cpu_high" {
  severity = "critical",
  summary = "CPU above 85 % of the available cores for 5 minutes",
  watch = metric "process.cpu.utilization", -- 1.0: all cores this program may use
  when = function(s) return s:avg("5m") > 0.85 end,
  clear = function(s) return s:avg("5m") < 0.70 end,
  hold = "5m",
  keep = "10m",
  -- Look closer while it lasts: a finer profile now, and the two minutes before it.
  on_fire = function() return profile { type = "cpu", hz = 250, span = "10s", before = "2m" } end,
}

rule "host_cpu_high" {
  severity = "warning",
  summary = "The whole machine's CPU is above 95 %",
  watch = metric "system.cpu.utilization",
  when = function(s) return s:avg("10m") > 0.95 end,
  clear = function(s) return s:avg("10m") < 0.85 end,
  hold = "10m",
  keep = "10m",
}

rule "host_memory_high" {
  severity = "critical",
  summary = "The machine is nearly out of memory (over 95 % in use)",
  watch = metric "system.memory.utilization",
  when = function(s) return s:avg("2m") > 0.95 end,
  clear = function(s) return s:avg("5m") < 0.90 end,
  hold = "3m",
  keep = "5m",
}

rule "container_memory_high" {
  severity = "critical",
  summary = "Above 90 % of the container's memory limit: it will be killed when that is reached",
  watch = metric "container.memory.utilization",
  when = function(s) return s:avg("2m") > 0.90 end,
  clear = function(s) return s:avg("5m") < 0.80 end,
  hold = "2m",
  keep = "5m",
}

rule "descriptors_high" {
  severity = "critical",
  summary = "Above 80 % of the open files that this process may have",
  watch = metric "process.open_file_descriptor.utilization",
  when = function(s) return s:last() > 0.80 end,
  clear = function(s) return s:max("10m") < 0.70 end,
  hold = "2m",
  keep = "5m",
}

rule "threads_growing" {
  severity = "warning",
  summary = function(s) return ("%.0f threads, and more every hour"):format(s:last()) end,
  watch = metric "process.thread.count",
  every = "1m",
  when = function(s)
    local trend = s:theil_sen("3h")
    return trend.n >= 30 and trend.slope_per_hour > 10 and trend.tau > 0.7 and s:last() > 100
  end,
  clear = function(s) return s:theil_sen("1h").slope_per_hour < 1 end,
  hold = "30m",
  keep = "30m",
}

rule "descriptors_growing" {
  severity = "warning",
  summary = function(s)
    return ("%.0f open files, %.0f more every hour"):format(s:last(), s:theil_sen("3h").slope_per_hour)
  end,
  watch = metric "process.open_file_descriptor.count",
  every = "1m",
  when = function(s)
    local trend = s:theil_sen("3h")
    return trend.n >= 30 and trend.slope_per_hour > 10 and trend.slope_per_hour > 0.05 * s:last() and trend.tau > 0.7 and s:last() > 50
  end,
  clear = function(s) return s:theil_sen("1h").slope_per_hour < 1 end,
  hold = "30m",
  keep = "30m",
}
