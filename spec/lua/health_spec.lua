local t = require "si.testing"

describe("rules/health.lua", function()
  before_each(function() t.load "rules/health.lua" end)

  describe("cpu_high", function()
    it("fires after five minutes above 85 %", function()
      t.series { metric = "process.cpu.utilization", "0.9 x 40", every = "10s" }
      t.advance "4m"
      assert.pending "cpu_high"
      t.advance "2m"
      assert.fires "cpu_high"
    end)
  end)
end)
