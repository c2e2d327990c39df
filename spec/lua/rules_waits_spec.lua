local t = require "si.testing"

describe("rules/waits.lua", function()
  before_each(function() t.load "rules/waits.lua" end)

  it("stuck_thread fires when a lock is waited for for half a minute, and takes a lock profile", function()
    t.series { metric = "process.lock.longest_wait", "0 x 5", 45, 105, 165, every = "1m" }
    t.advance "5m30s"
    assert.is_not.fires "stuck_thread"
    t.advance "1m"
    assert.fires "stuck_thread"
    assert.equal("a thread has been waiting for a lock for 45 s", t.alerts("stuck_thread")[1].summary)
    local asked = t.events "profile"
    assert.same({ "lock", 10000, 120000, "stuck_thread" }, { asked[1].type, asked[1].span_ms, asked[1].before_ms, asked[1].rule })
  end)

  it("stuck_thread is silent about waits of seconds", function()
    t.series { metric = "process.lock.longest_wait", "5 ~ 5 x 60", every = "1m" }
    t.advance "1h"
    assert.equal(0, #t.events "alert")
  end)

  it("stuck_thread resolves when the lock is had", function()
    t.series { metric = "process.lock.longest_wait", "60 .. 300 x 5", "0 x 5", every = "1m" }
    t.advance "5m30s"
    assert.fires "stuck_thread"
    t.advance "3m"
    assert.resolves "stuck_thread"
  end)
end)
