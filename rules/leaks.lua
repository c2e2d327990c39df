-- Memory that only grows.

rule "memory_growing" {
  severity = "warning",
  summary = function(s)
    local trend = s:theil_sen("6h")
    return ("memory grows by %.0f MiB an hour, now %.0f MiB"):format(trend.slope_per_hour / 2^20, s:last() / 2^20)
  end,
  watch = metric "process.memory.usage",
  every = "1m",
  when = function(s)
    local trend, lately = s:theil_sen("6h"), s:theil_sen("1h")
    -- more than 5 % of what it has, every hour, steadily (tau), over at least half an hour of data
    return trend.n >= 6 and s:count("6h") >= 30 and trend.slope_per_hour > 0.05 * s:last()
      and trend.slope_per_hour > 8 * 2^20 and trend.tau > 0.7
      and lately.slope_per_hour > 0.02 * s:last() -- and it has not stopped growing
  end,
  clear = function(s) return s:theil_sen("1h").slope_per_hour < 0.01 * s:last() end,
  hold = "30m",
  keep = "30m",
}

-- Per call site, from the heap profile: what one place allocates and does not release.
rule "leak" {
  severity = "warning",
  summary = function(s) return ("%s holds %.0f MiB and keeps growing"):format(s:name(), s:last() / 2^20) end,
  over = callsites { profile = "heap", top = 200, min = "8MiB" },
  every = "1m",
  no_data_after = "30m",
  when = function(s)
    local trend, lately = s:theil_sen("6h"), s:theil_sen("1h")
    return trend.n >= 6 and trend.slope_per_hour > 0.05 * s:last() and trend.tau > 0.6
      and lately.slope_per_hour > 0.02 * s:last()
  end,
  hold = "30m",
  keep = "30m",
}
