-- Code segments: what they are called, and when they are slow.

-- "http /orders/17" and "http /orders/18" are one thing.
segment "http .*" {
  name = function(n) return (n:gsub("/%d+", "/:id")) end,
  percentiles = { 50, 95, 99 },
}

rule "segment_slow" {
  severity = "warning",
  summary = function(s)
    return ("%s takes %.0f ms (95th percentile), usually %.0f ms"):format(s:name(), s:median_last(3), s:baseline("24h").median)
  end,
  over = segments ".*",
  when = function(s)
    local usual = s:baseline("24h", { min_points = 60, floor = 5 }) -- floor: 5 ms
    local now = s:median_last(3)
    if now < 1.1 * usual.same_hour_held then return false end -- so it was yesterday at this time
    return usual:z(now) > 4 and now > 2 * usual.median and now > 1.1 * usual.p98
  end,
  clear = function(s)
    return s:baseline("24h", { min_points = 60, floor = 5 }):z(s:median_last(3)) < 2
  end,
  hold = "5m",
  keep = "10m",
}

rule "segment_failing" {
  severity = "critical",
  summary = function(s) return ("%s: %.0f of %.0f calls failed within 5 minutes"):format(s:name(), s:errors("5m"), s:calls("5m")) end,
  over = segments ".*",
  when = function(s) return s:errors("5m") >= 5 and s:errors("5m") > 0.05 * s:calls("5m") end,
  clear = function(s) return s:errors("5m") <= 0.01 * s:calls("5m") end,
  hold = "2m",
  keep = "5m",
}
