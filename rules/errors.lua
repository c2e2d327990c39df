-- Errors that the program records (si_error_record), per group. A point is the number of errors in 60 seconds.

rule "errors_many" {
  severity = "critical",
  summary = function(s) return ("%.0f errors \"%s\" within 5 minutes"):format(s:sum("5m"), s:name()) end,
  over = errors ".*",
  when = function(s) return s:sum("5m") >= 50 end, -- ten a minute
  clear = function(s) return s:sum("5m") < 10 end,
  hold = "1m",
  keep = "5m",
}

-- A crash is news even when it is alone.
rule "crash" {
  severity = "critical",
  summary = function(s) return "crashed: " .. s:name() end,
  over = errors "crash.*",
  when = function(s) return s:sum("10m") >= 1 end,
  keep = "0s",
}
