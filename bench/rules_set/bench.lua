-- luacheck: read globals rule metrics callsites
-- What ./dev bench rules evaluates, beside the defaults: three kinds of rule over 1,000 series, every ten seconds.

rule "bench_threshold" {
  over = metrics "load%..*",
  when = function(s) return s:avg("5m") > 0.85 end,
  clear = function(s) return s:avg("5m") < 0.70 end,
  hold = "5m",
}

rule "bench_baseline" {
  over = metrics "latency%..*",
  when = function(s)
    local usual = s:baseline("24h", { min_points = 60, floor = 5 })
    local now = s:median_last(3)
    return usual:z(now) > 4 and now > 1.5 * usual.median and now > 1.1 * usual.p98
  end,
  hold = "5m",
}

rule "bench_callsite" {
  over = callsites { profile = "heap", top = 200, min = "8MiB" },
  when = function(s)
    local trend = s:theil_sen("6h")
    return trend.slope_per_hour > 0.05 * s:last() and trend.tau > 0.6
  end,
  hold = "30m",
}
