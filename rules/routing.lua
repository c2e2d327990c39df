-- Who is told. "default" is what the channels file calls so (docs/channels.md); where it does not,
-- nobody is bothered and alerts are still shown in the dashboard.

route {
  to = "default",
  group_by = { "app", "rule" }, -- alerts of one rule travel together
  wait = "30s",                 -- gather this long before the first message
  interval = "5m",              -- then at most one message this often
  resend = "4h",                -- remind while it still fires

  -- Shown in the dashboard, sent to nobody:
  { match = { severity = "info" }, to = {} },

  -- An example: critical alerts to people who are on call, and to their leads if nobody says "seen" within 15 minutes.
  -- { match = { severity = "critical" }, to = "pagerduty:core",
  --   escalate = { { after = "15m", unless = "acked", to = "email:leads" } } },
}

-- One cause, one message: while the machine as a whole is short of CPU, a slow segment is no news.
-- inhibit {
--   source = { rule = "host_cpu_high" },
--   target = { rule = "segment_slow" },
--   equal = { "app", "host" },
-- }
