-- A profile that is not what it usually is: the last few against the last 24 hours of the same profile.
-- Three tests at once keep false alarms rare: far away in its own deviations, half as much again, and above nearly all it has been.

rule "hotspot" {
  severity = "warning",
  summary = function(p)
    return ("%s profile at %.1f %%, usually %.1f %%"):format(p:name(), p:median_last(3), p:baseline("24h").median)
  end,
  over = profiles { "cpu", "lock", "network", "system", "channel" },
  when = function(p)
    local usual = p:baseline("24h", { min_points = 60, floor = 1 }) -- floor: less than 1 % of the cores is no deviation
    local now = p:median_last(3)
    return usual:z(now) > 4 and now > 1.5 * usual.median and now > 1.1 * usual.p98
  end,
  clear = function(p)
    return p:baseline("24h", { min_points = 60, floor = 1 }):z(p:median_last(3)) < 2
  end,
  hold = "5m",
  keep = "10m",
  attach = function(p) return p:top_growth(5) end, -- the call sites that grew most
}
