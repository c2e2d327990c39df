local t = require "si.testing"
local MiB = 2 ^ 20

local function ramp(from_mib, to_mib, count)
  return ("%.0f .. %.0f x %d"):format(from_mib * MiB, to_mib * MiB, count)
end

describe("rules/leaks.lua", function()
  before_each(function() t.load "rules/leaks.lua" end)

  describe("memory_growing", function()
    local memory = "process.memory.usage"

    it("fires on memory that only grows", function()
      t.series { metric = memory, ramp(200, 600, 240), every = "1m" } -- 100 MiB an hour
      t.advance("3h", "10s")
      assert.fires "memory_growing"
      assert.matches("^memory grows by %d+ MiB an hour, now %d+ MiB$", t.alerts("memory_growing")[1].summary)
    end)

    it("is silent for a cache that fills and then stays", function()
      t.series { metric = memory, ramp(50, 400, 20), ("%.0f ~ %.0f x 600"):format(400 * MiB, 4 * MiB), every = "1m" }
      t.advance("10h", "10s")
      assert.is_not.fires "memory_growing"
    end)

    it("is silent for a sawtooth, as of a garbage collector", function()
      local teeth = {}
      for _ = 1, 40 do teeth[#teeth + 1] = ramp(100, 300, 12) end
      teeth.metric, teeth.every = memory, "1m"
      t.series(teeth)
      t.advance("8h", "10s")
      assert.is_not.fires "memory_growing"
    end)

    it("resolves when the growth ends", function()
      t.series { metric = memory, ramp(200, 600, 240), ("%.0f x 300"):format(600 * MiB), every = "1m" }
      t.advance("3h", "10s")
      assert.fires "memory_growing"
      t.advance("4h", "10s")
      assert.resolves "memory_growing"
    end)
  end)

  describe("leak", function()
    it("names the call site that keeps growing, and only that one", function()
      t.series { callsite = "heap|cache_put (shop)", ramp(10, 90, 240), every = "1m" }
      t.series { callsite = "heap|read_config (shop)", ("%.0f x 240"):format(50 * MiB), every = "1m" }
      t.series { callsite = "heap|tiny (shop)", ramp(0.1, 5, 240), every = "1m" }
      t.advance("3h", "10s")
      assert.fires("leak", "cache_put (shop)")
      assert.is_not.fires("leak", "read_config (shop)")
      assert.is_not.fires("leak", "tiny (shop)") -- below 8 MiB
      assert.matches("^cache_put %(shop%) holds %d+ MiB", t.alerts("leak")[1].summary)
    end)
  end)
end)
