-- The garbage collector of the program's own Lua states (those that are attached: docs/embedding.md).

rule "gc_pressure" {
  severity = "warning",
  summary = function(s) return ("%.0f %% of the Lua states' CPU time goes into garbage collection"):format(100 * s:avg("5m")) end,
  watch = metric "lua.gc.cpu_fraction", -- 1.0: nothing else is done
  when = function(s) return s:avg("5m") > 0.30 end,
  clear = function(s) return s:avg("5m") < 0.20 end,
  hold = "5m",
  keep = "10m",
  on_fire = function() return profile { type = "cpu", hz = 250, span = "10s", before = "2m" } end,
}

rule "lua_memory_growing" {
  severity = "warning",
  summary = function(s)
    return ("the Lua states hold %.0f MiB, %.0f MiB more every hour"):format(s:last() / 2^20, s:theil_sen("3h").slope_per_hour / 2^20)
  end,
  watch = metric "lua.memory.usage",
  every = "1m",
  when = function(s)
    local trend = s:theil_sen("3h")
    return s:count("3h") >= 60 and trend.slope_per_hour > 0.10 * s:last() and trend.slope_per_hour > 4 * 2^20 and trend.tau > 0.7
  end,
  clear = function(s) return s:theil_sen("1h").slope_per_hour < 0.02 * s:last() end,
  hold = "30m",
  keep = "30m",
}
