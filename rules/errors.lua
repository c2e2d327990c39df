-- Errors that the program records (si_error_record), and crashes, per group. A point is the errors of a minute.

rule "errors_many" {
  severity = "critical",
  summary = function(s) return ("%.0f errors \"%s\" a minute"):format(s:avg("5m"), s:name()) end,
  over = errors ".*",
  when = function(s) return s:avg("5m") >= 10 end,
  clear = function(s) return s:avg("5m") < 2 end,
  hold = "1m",
  keep = "5m",
}

-- Few, but many more than there used to be.
rule "errors_more" {
  severity = "warning",
  summary = function(s)
    return ("%.1f errors \"%s\" a minute, usually %.1f"):format(s:avg("10m"), s:name(), s:baseline("24h").median)
  end,
  over = errors ".*",
  when = function(s)
    local usual, now = s:baseline("24h", { min_points = 60, floor = 0.25 }), s:avg("10m")
    return usual:z(now) > 4 and now > 3 * usual.median and now > 1.5 * usual.p98 and s:median_last(3) > usual.median
  end,
  clear = function(s) return s:baseline("24h", { min_points = 60, floor = 0.25 }):z(s:avg("10m")) < 2 end,
  hold = "5m",
  keep = "10m",
}

-- A crash is news even when it is alone.
rule "crash" {
  severity = "critical",
  summary = function(s) return "crashed: " .. s:name() end,
  over = errors "crash.*",
  when = function(s) return s:max("10m") > 0 end,
  keep = "0s",
  no_data_after = "1h",
}

-- Again and again. Needs a state directory, for it is about what happened before the last start.
rule "crash_loop" {
  severity = "critical",
  summary = function(s) return ("crashed again and again in the last half hour: %s"):format(s:name()) end,
  over = errors "crash.*",
  when = function(s) return s:sum("30m") >= 2 end, -- each is 0.5 to 1: its report covers one or two minutes
  clear = function(s) return s:sum("30m") <= 1 end,
  keep = "5m",
  no_data_after = "1h",
}
