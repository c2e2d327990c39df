local t = require "si.testing"

describe("rules/errors.lua", function()
  before_each(function() t.load "rules/errors.lua" end)

  it("errors_many fires at ten a minute, per group", function()
    t.series { error = "db timeout", "15 x 10", every = "1m" }
    t.series { error = "bad input", "2 x 10", every = "1m" }
    t.advance "6m"
    assert.fires("errors_many", "db timeout")
    assert.is_not.fires("errors_many", "bad input")
    assert.equal('75 errors "db timeout" within 5 minutes', t.alerts("errors_many")[1].summary)
  end)

  it("errors_many resolves when the group falls silent", function()
    t.series { error = "db timeout", "15 x 10", every = "1m" }
    t.advance "10m"
    assert.fires("errors_many", "db timeout")
    t.advance "15m" -- no points at all
    assert.resolves("errors_many", "db timeout")
  end)

  it("crash fires on the first one and says what crashed", function()
    t.series { error = "crash SIGSEGV", 1, every = "1m" }
    t.advance "90s"
    assert.fires("crash", "crash SIGSEGV")
    assert.equal("crashed: crash SIGSEGV", t.alerts("crash")[1].summary)
  end)
end)
