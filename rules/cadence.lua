-- How often si measures and reports. Change a number and save: it is in force at once.

cadence {
  metrics = "60s", -- CPU, memory, threads, ...: a point this often
  report = "2m",   -- and a report to the dashboard this often

  cpu = {
    hz = 100,           -- samples per second of CPU time and thread, during a span
    every = "8s",       -- a span begins this often ...
    span = "2s",        -- ... and lasts this long; span = every: always on
    background_hz = 10, -- between spans, so that the minutes before an anomaly are known; 0: off
  },

  overhead = { cpu = 0.01 }, -- si may use 1 % of one core; above that it halves its own rates

  -- A small container gets fewer samples.
  when = function(now, host)
    if host.cpu_quota < 1 then return { cpu = { hz = 25 } } end
  end,
}
