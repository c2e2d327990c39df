-- Objectives and their burn rates, and profiles that a slow segment asks for.

local t = require "si.testing"

local checkout = [[
slo "checkout" { segment = "checkout", good = { below = "250ms" }, target = 0.99,
  burn = { { 14.4, "1h", "5m", "critical" }, { 6, "6h", "30m", "warning" } } }]]

local function accepted(text)
  local ok, why = t.load_text(text)
  assert.is_truthy(ok, why)
end

local function refused(text, ...)
  local ok, why = t.load_text(text)
  assert.is_nil(ok)
  for _, part in ipairs { ... } do assert.matches(part, why, 1, true) end
end

--- An hour and more of calls a minute, of which a share is good.
local function calls(good, minutes, of)
  t.series { segment = "checkout|p95", of or "200 x " .. minutes, every = "1m" }
  t.series { segment = "checkout|total", "100 x " .. minutes, every = "1m" }
  t.series { segment = "checkout|below250", (100 * good) .. " x " .. minutes, every = "1m" }
  t.advance(minutes .. "m", "10s")
end

describe("slo", function()
  it("is silent while the budget lasts", function()
    accepted(checkout)
    calls(0.995, 400)
    assert.is_not.fires("checkout.burn.1h")
    assert.is_not.fires("checkout.burn.6h")
  end)

  it("fires fast when it burns fast, and says how fast", function()
    accepted(checkout)
    calls(1, 60)
    calls(0.5, 20) -- 50 times too fast; over the hour 20/60 of that
    assert.fires("checkout.burn.1h", "checkout")
    local alert = t.alerts("checkout.burn.1h")[1]
    assert.equal("critical", alert.severity)
    assert.matches("checkout: %d%d%.%d%d %% of the calls of checkout were good within 1h %(target 99 %%%)", alert.summary)
    assert.is_true(alert.value > 14.4 and alert.value < 50)
  end)

  it("needs both windows: what is over is over", function()
    accepted(checkout)
    calls(1, 60)
    calls(0, 12)
    assert.fires("checkout.burn.1h", "checkout")
    calls(1, 10) -- the hour is still bad, the last five minutes are not
    assert.resolves("checkout.burn.1h", "checkout")
  end)

  it("fires slowly when it burns slowly", function()
    accepted(checkout)
    calls(0.91, 370) -- 9 times: above 6, below 14.4
    assert.fires("checkout.burn.6h", "checkout")
    assert.is_not.fires("checkout.burn.1h")
  end)

  it("counts failures", function()
    accepted [[slo "pay" { segment = "pay.card", good = { failed = false }, target = 0.999, burn = { { 10, "1h", "5m" } } }]]
    t.series { segment = "pay.card|p95", "10 x 90", every = "1m" }
    t.series { segment = "payxcard|p95", "10 x 90", every = "1m" } -- the name is no pattern
    t.series { segment = "pay.card|total", "50 x 90", every = "1m" }
    t.series { segment = "pay.card|failed", "0 x 60", "5 x 30", every = "1m" }
    t.advance("90m", "10s")
    assert.fires("pay.burn.1h", "pay.card")
    assert.equal(1, #t.alerts "pay.burn.1h")
  end)

  it("says nothing about a handful of calls", function()
    accepted(checkout)
    t.series { segment = "checkout|p95", "900 x 60", every = "1m" }
    t.series { segment = "checkout|total", "_ x 30", "1 x 10", every = "1m" }
    t.series { segment = "checkout|below250", "_ x 30", "0 x 10", every = "1m" }
    t.advance("60m", "10s")
    assert.is_not.fires("checkout.burn.1h")
  end)

  it("is checked", function()
    refused('slo "x" { segment = "a", target = 0.99 }', 'spec.lua:1: slo "x": field "good" is missing')
    refused('slo "x" { segment = "a", good = {}, target = 0.99 }', "says nothing")
    refused('slo "x" { segment = "a", good = { below = 250 }, target = 0.99 }', "write a duration in quotes")
    refused('slo "x" { segment = "a", good = { below = "1s" }, target = 99 }', "at most 0.99999")
    refused('slo "x" { segment = "a", good = { below = "1s" }, target = 0.9, burn = { { 2, "5m", "1h" } } }', "the long window comes first")
    refused('slo "x" { segment = "a", good = { below = "1s" }, target = 0.9, burn = { { 2, "1h", "5m", "bad" } } }', "critical")
    refused('slo "x" { segmnt = "a", good = { below = "1s" }, target = 0.9 }', 'Did you mean "segment"')
    refused(checkout .. "\n" .. checkout, "declared twice")
    refused('slo "x"', "its table { ... } is missing")
  end)
end)

describe("profile_when", function()
  local function profiles() return t.events "profile" end

  it("asks for a profile while the segment is slow, and not too often", function()
    accepted [[segment "checkout" { profile_when = function(s) return s:p(95) > 250 end }]]
    t.series { segment = "checkout|p95", "100 x 10", "300 x 20", every = "1m" }
    t.advance "9m"
    assert.equal(0, #profiles())
    t.advance "6m"
    assert.equal(1, #profiles())
    local p = profiles()[1]
    assert.same({ "cpu", 250, 10000, 120000, "profile_when checkout" }, { p.type, p.hz, p.span_ms, p.before_ms, p.rule })
    t.advance "14m"
    assert.equal(2, #profiles())
    assert.equal(0, #t.events "alert")
  end)

  it("may say which, and follows the new name", function()
    accepted [[
      segment "http .*" { name = function(n) return (n:gsub("/%d+", "/:id")) end, profile_every = "1m",
        profile_when = function(s) if s:p(95) > 250 then return profile { type = "lock", span = "5s" } end end }
      segment "other" { profile_when = function(s) return true end }]]
    assert.equal("http /x/:id", t.segment "http /x/17")
    t.series { segment = "http /x/:id|p95", "300 x 5", every = "1m" }
    t.advance "5m"
    assert.is_true(#profiles() >= 3)
    for _, p in ipairs(profiles()) do assert.equal("lock", p.type) end
  end)
end)

describe("on_fire", function()
  it("may ask for a profile of any type", function()
    for _, kind in ipairs { "cpu", "heap", "alloc", "lock", "network", "system", "channel" } do
      accepted(([[rule "r" { watch = metric "load", when = function(s) return s:last() > 1 end,
        on_fire = function() return profile { type = "%s", before = "2m" } end }]]):format(kind))
      t.series { metric = "load", "5 x 3", every = "10s" }
      t.advance "30s"
      assert.equal(kind, t.events("profile")[1].type)
    end
  end)
end)
