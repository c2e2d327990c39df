local t = require "si.testing"

describe("rules/lua_gc.lua", function()
  before_each(function() t.load "rules/lua_gc.lua" end)

  it("gc_pressure fires when a third of the time goes into the collector", function()
    t.series { metric = "lua.gc.cpu_fraction", "0.1 x 10", "0.4 x 20", "0.1 x 30", every = "1m" }
    t.advance "12m"
    assert.is_not.fires "gc_pressure"
    t.advance "11m"
    assert.fires "gc_pressure"
    assert.equal("40 % of the Lua states' CPU time goes into garbage collection", t.alerts("gc_pressure")[1].summary)
    assert.equal("cpu", t.events("profile")[1].type)
    t.advance "37m"
    assert.resolves "gc_pressure"
  end)

  it("gc_pressure is silent about a burst", function()
    t.series { metric = "lua.gc.cpu_fraction", "0.05 x 20", "0.6 x 2", "0.05 x 20", every = "1m" }
    t.advance "40m"
    assert.equal(0, #t.events "alert")
  end)

  it("lua_memory_growing fires on a leak, and not on a heap that breathes", function()
    t.series { metric = "lua.memory.usage", "20000000 .. 90000000 x 240", every = "1m" }
    t.advance("4h", "10s")
    assert.fires "lua_memory_growing"
    assert.matches("^the Lua states hold %d+ MiB, %d+ MiB more every hour$", t.alerts("lua_memory_growing")[1].summary)
    t.load "rules/lua_gc.lua"
    t.series { metric = "lua.memory.usage", "60000000 ~ 30000000 x 400", every = "1m" }
    t.advance("6h", "10s")
    assert.equal(0, #t.events "alert")
  end)
end)
