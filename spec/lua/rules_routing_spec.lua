local t = require "si.testing"

describe("rules/routing.lua", function()
  before_each(function() t.load("rules/health.lua", "rules/routing.lua") end)

  it("sends everything to the default channel, half a minute after it fires", function()
    t.series { metric = "process.cpu.utilization", "0.95 x 15", every = "1m" }
    t.advance "7m"
    assert.fires "cpu_high"
    assert.routes_to "default"
    local message = t.messages "default"[1]
    local alert = message.alerts[1]
    assert.equal(alert.fired_ms + 30000, message.at_ms)
    assert.equal(1, #t.messages())
  end)

  it("reminds after four hours", function()
    t.series { metric = "process.cpu.utilization", "0.95 x 600", every = "1m" }
    t.advance("9h", "10s")
    assert.equal(3, #t.messages "default") -- the first, after 4 h, after 8 h
  end)

  it("says when it is over", function()
    t.series { metric = "process.cpu.utilization", "0.95 x 15", "0.1 x 60", every = "1m" }
    t.advance "1h"
    local messages = t.messages "default"
    assert.equal(2, #messages)
    assert.equal("resolved", messages[2].alerts[1].state)
  end)

  it("sends info nowhere", function()
    assert.equal("", t.route { rule = "x", severity = "info" })
    assert.equal("default", t.route { rule = "x", severity = "warning" })
  end)
end)

describe("rules/cadence.lua", function()
  it("is what the guide says", function()
    t.load "rules/cadence.lua"
    local c = t.cadence()
    assert.same({ 60000, 120000, 100, 10, 8000, 2000, 0.01 },
      { c.metrics_ms, c.report_ms, c.cpu_hz, c.cpu_background_hz, c.cpu_every_ms, c.cpu_span_ms, c.overhead_cpu })
  end)

  it("takes fewer samples in a small container", function()
    t.load({ cpu_quota = 0.5 }, "rules/cadence.lua")
    t.advance "2s"
    local c = t.cadence()
    assert.equal(25, c.cpu_hz)
    assert.equal(2000, c.cpu_span_ms) -- the rest stays
  end)
end)
