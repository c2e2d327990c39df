-- What is wrong in the shop, as rules. Both fire within the first minute of the demo; the limits suit the load of load.lua.

rule "payments_declined" {
  severity = "critical",
  summary = "Payments are declined: more than 2 a minute",
  over = errors "payment declined",
  when = function(s) return s:last() > 2 end, -- the newest count of errors, per 60 s
  clear = function(s) return s:last() < 1 end,
  every = "5s", keep = "30s", no_data = "resolve",
}

rule "slow_search" {
  severity = "warning",
  summary = function(s) return ("Product search is slow: 95th percentile %.0f ms"):format(s:p(95)) end,
  over = segments "GET /products",
  when = function(s) return s:p(95) > 5 end,
  clear = function(s) return s:p(95) < 3 end,
  hold = "10s", every = "5s", keep = "30s",
  on_fire = function() return profile { type = "cpu", hz = 250, span = "5s", before = "1m" } end,
}

rule "receipts_pile_up" {
  severity = "info",
  summary = "Receipts are kept and never dropped",
  watch = metric "shop.receipts",
  when = function(s) return s:delta("2m") > 500 end,
  hold = "1m", every = "10s",
}
