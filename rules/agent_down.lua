-- What a dead process cannot say. These run at the dashboard, over all sources of an application.
-- The dashboard's series: agent.silence/HOST/SOURCE, seconds since that source's last report. A program that ended in order, and one
-- that another on the same host replaced, have none; after a day of silence a source is gone, and the alert resolves.

rule "agent_down" {
  at = "dashboard",
  severity = "critical",
  summary = function(s)
    return ("no report from %s for %.0f minutes"):format(s:name():match "^agent%.silence/(.*)/%d+$" or s:name(), s:last() / 60)
  end,
  over = metrics "agent%.silence/.*",
  when = function(s) return s:last() > 360 end, -- three reports of the default cadence
  clear = function(s) return s:last() < 150 end,
  keep = "1m",
}

-- Programs that are started again and again and have no state directory do not know that it is not their first crash. Over all sources,
-- in which a crash is counted once.
rule "crash_loop_anywhere" {
  at = "dashboard",
  severity = "critical",
  summary = function(s) return ("crashed %.0f times in the last half hour: %s"):format(s:sum("30m"), s:name()) end,
  over = errors "crash.*",
  when = function(s) return s:sum("30m") > 2.5 end,
  clear = function(s) return s:sum("30m") < 1.5 end,
  keep = "5m",
  no_data_after = "1h",
}
