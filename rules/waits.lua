-- Threads that are stuck.

rule "stuck_thread" {
  severity = "critical",
  summary = function(s) return ("a thread has been waiting for a lock for %.0f s"):format(s:last()) end,
  watch = metric "process.lock.longest_wait", -- of the waits that go on now; a condition that nobody signals is not one
  when = function(s) return s:last() >= 30 end,
  clear = function(s) return s:last() < 5 end,
  keep = "1m",
  -- Who waits, and where: the lock profile from now on, and what it held before.
  on_fire = function() return profile { type = "lock", span = "10s", before = "2m" } end,
}
