local t = require "si.testing"

describe("rules/health.lua", function()
  before_each(function() t.load "rules/health.lua" end)

  describe("cpu_high", function()
    local cpu = "process.cpu.utilization"

    it("fires after five minutes above 85 %, and not before", function()
      t.series { metric = cpu, "0.9 x 12", every = "1m" }
      t.advance "5m"
      assert.pending "cpu_high"
      t.advance "2m"
      assert.fires "cpu_high"
    end)

    it("stays silent below", function()
      t.series { metric = cpu, "0.8 ~ 0.04 x 60", every = "1m" }
      t.advance "1h"
      assert.is_not.fires "cpu_high"
    end)

    it("ignores a spike of two minutes", function()
      t.series { metric = cpu, "0.2 x 30", "1.0 x 2", "0.2 x 30", every = "1m" }
      t.advance "1h"
      assert.equal(0, #t.events "alert")
    end)

    it("does not flicker around the limit, and resolves when it is well below", function()
      t.series { metric = cpu, "0.95 x 15", "0.84 x 20", "0.3 x 30", every = "1m" }
      t.advance "15m"
      assert.fires "cpu_high"
      t.advance "20m" -- below 85 %, but not below 70 %
      assert.fires "cpu_high"
      t.advance "20m"
      assert.resolves "cpu_high"
      assert.equal(3, #t.events "alert") -- pending, firing, resolved
    end)

    it("takes a finer profile, with the minutes before, when it fires", function()
      t.series { metric = cpu, "0.9 x 12", every = "1m" }
      t.advance "8m"
      local asked = t.events "profile"
      assert.equal(1, #asked)
      assert.same({ "cpu", 250, 10000, 120000, "cpu_high" },
        { asked[1].type, asked[1].hz, asked[1].span_ms, asked[1].before_ms, asked[1].rule })
    end)

    it("keeps its state while there is no data", function()
      t.series { metric = cpu, "0.9 x 12", every = "1m" }
      t.advance "12m"
      t.advance "2h"
      assert.fires "cpu_high"
    end)
  end)

  it("host_cpu_high needs twenty minutes of a busy machine", function()
    t.series { metric = "system.cpu.utilization", "0.99 x 40", every = "1m" }
    t.advance "10m"
    assert.is_not.fires "host_cpu_high"
    t.advance "15m"
    assert.fires "host_cpu_high"
  end)

  it("host_memory_high fires at 97 % and resolves at 80 %", function()
    t.series { metric = "system.memory.utilization", "0.97 x 10", "0.8 x 30", every = "1m" }
    t.advance "6m"
    assert.fires "host_memory_high"
    t.advance "30m"
    assert.resolves "host_memory_high"
  end)

  it("container_memory_high fires before the limit is reached", function()
    t.series { metric = "container.memory.utilization", "0.5 .. 0.99 x 60", every = "1m" }
    t.advance "45m"
    assert.is_not.fires "container_memory_high" -- 0.87
    t.advance "10m"
    assert.fires "container_memory_high"
  end)

  it("descriptors_high fires when they are running out", function()
    t.series { metric = "process.open_file_descriptor.utilization", "0.5 x 10", "0.9 x 10", "0.1 x 40", every = "1m" }
    t.advance "9m"
    assert.is_not.fires "descriptors_high"
    t.advance "6m"
    assert.fires "descriptors_high"
    t.advance "30m"
    assert.resolves "descriptors_high"
  end)

  describe("threads_growing", function()
    local threads = "process.thread.count"

    it("fires on a steady climb", function()
      t.series { metric = threads, "50 .. 290 x 240", every = "1m" } -- one a minute
      t.advance "3h"
      assert.fires "threads_growing"
      assert.matches("^%d+ threads", t.alerts("threads_growing")[1].summary)
    end)

    it("stays silent for a pool that breathes", function()
      t.series { metric = threads, "200 ~ 50 x 600", every = "1m" }
      t.advance "10h"
      assert.is_not.fires "threads_growing"
    end)

    it("resolves when the climb ends", function()
      t.series { metric = threads, "50 .. 290 x 240", "290 x 240", every = "1m" }
      t.advance "3h"
      assert.fires "threads_growing"
      t.advance "4h"
      assert.resolves "threads_growing"
    end)
  end)

  describe("descriptors_growing", function()
    local files = "process.open_file_descriptor.count"

    it("fires on a leak of one file a minute, and resolves when it has ended", function()
      t.series { metric = files, "40 .. 280 x 240", "60 x 200", every = "1m" }
      t.advance("3h50m", "10s")
      assert.fires "descriptors_growing"
      assert.matches("^%d+ open files, %d+ more every hour$", t.alerts("descriptors_growing")[1].summary)
      t.advance("3h20m", "10s")
      assert.resolves "descriptors_growing"
    end)

    it("is silent for connections that come and go", function()
      t.series { metric = files, "300 ~ 200 x 600", every = "1m" }
      t.advance("10h", "10s")
      assert.equal(0, #t.alerts "descriptors_growing")
    end)
  end)
end)
