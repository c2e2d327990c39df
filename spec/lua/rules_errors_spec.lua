local t = require "si.testing"

describe("rules/errors.lua", function()
  before_each(function() t.load "rules/errors.lua" end)

  it("errors_many fires at ten a minute, per group", function()
    t.series { error = "db timeout", "15 x 10", every = "1m" }
    t.series { error = "bad input", "2 x 10", every = "1m" }
    t.advance "6m"
    assert.fires("errors_many", "db timeout")
    assert.is_not.fires("errors_many", "bad input")
    assert.equal('15 errors "db timeout" a minute', t.alerts("errors_many")[1].summary)
  end)

  it("errors_many resolves when the group falls silent", function()
    t.series { error = "db timeout", "15 x 10", every = "1m" }
    t.advance "10m"
    assert.fires("errors_many", "db timeout")
    t.advance "15m" -- no points at all
    assert.resolves("errors_many", "db timeout")
  end)

  it("errors_many means a minute, however long a report's time is", function()
    t.series { error = "db timeout", "12 x 10", every = "2m" }
    t.series { error = "bad input", "8 x 10", every = "2m" }
    t.advance "15m"
    assert.fires("errors_many", "db timeout")
    assert.is_not.fires("errors_many", "bad input")
  end)

  describe("errors_more", function()
    it("fires when a group that always had a few has many more, and resolves", function()
      t.series { error = "declined", "1 ~ 1 x 360", "6 ~ 1 x 30", "1 ~ 1 x 60", every = "2m" }
      t.advance("12h", "10s")
      assert.is_not.fires("errors_more", "declined")
      t.advance("40m", "10s")
      assert.fires("errors_more", "declined")
      assert.matches('^%d%.%d errors "declined" a minute, usually %d%.%d$', t.alerts("errors_more")[1].summary)
      t.advance("80m", "10s")
      assert.resolves("errors_more", "declined")
    end)

    it("is silent about one error after a silent day", function()
      t.series { error = "declined", "0 x 360", 2, "0 x 100", every = "2m" }
      t.advance("14h", "10s")
      for _, event in ipairs(t.events "alert") do assert.is_not.equal("errors_more", event.alerts[1].rule) end
    end)
  end)

  it("crash is told once and is over when it does not happen again", function()
    t.series { error = "crash: SIGSEGV", 0.5, "0 x 20", every = "2m" }
    t.advance "3m"
    assert.fires("crash", "crash: SIGSEGV")
    assert.is_not.fires "crash_loop"
    t.advance "15m"
    assert.resolves("crash", "crash: SIGSEGV")
  end)

  it("crash_loop fires when it keeps happening, over restarts of the agent, and ends with it", function()
    for i = 0, 3 do t.series { error = "crash: SIGSEGV", 0.7, "0 x 2", every = "2m", after = 6 * i + 1 .. "m" } end
    t.series { error = "crash: SIGSEGV", "0 x 60", every = "2m", after = "26m" }
    t.advance "10m"
    assert.is_not.fires "crash_loop"
    t.restart "rules/errors.lua"
    t.advance "14m"
    assert.fires("crash_loop", "crash: SIGSEGV")
    t.advance "1h"
    assert.resolves("crash_loop", "crash: SIGSEGV")
  end)

  it("crash fires on the first one and says what crashed", function()
    t.series { error = "crash SIGSEGV", 1, every = "1m" }
    t.advance "90s"
    assert.fires("crash", "crash SIGSEGV")
    assert.equal("crashed: crash SIGSEGV", t.alerts("crash")[1].summary)
  end)
end)
