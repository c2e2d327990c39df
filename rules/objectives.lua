-- Objectives: what share of a segment's calls must be good, and how fast the rest may be used up.
-- This one is an example and off: give it the name of a segment of yours, and take out the last line.

slo "checkout" {
  segment = "http /checkout",
  good = { below = "250ms", failed = false },
  target = 0.99,
  burn = {
    { 14.4, "1h", "5m", "critical" }, -- a month's budget in two days
    { 6, "6h", "30m", "critical" },
    { 1, "3d", "6h", "warning" },
  },
  enabled = false,
}
