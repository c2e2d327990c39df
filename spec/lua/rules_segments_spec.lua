local t = require "si.testing"

describe("rules/segments.lua", function()
  before_each(function() t.load "rules/segments.lua" end)

  it("gives requests of one route one name", function()
    assert.equal("http GET /orders/:id", (t.segment "http GET /orders/17"))
    assert.equal("http GET /orders/:id/lines/:id", (t.segment "http GET /orders/17/lines/3"))
  end)

  it("leaves other segments alone", function()
    assert.equal("checkout/17", (t.segment "checkout/17"))
  end)

  describe("segment_slow", function()
    it("fires when a segment is several times slower than in the last hours", function()
      t.series { segment = "checkout|p95", "80 ~ 10 x 120", "400 ~ 20 x 30", every = "1m" }
      t.series { segment = "search|p95", "30 ~ 5 x 150", every = "1m" }
      t.advance("2h", "10s")
      assert.is_not.fires("segment_slow", "checkout")
      t.advance("15m", "10s")
      assert.fires("segment_slow", "checkout")
      assert.is_not.fires("segment_slow", "search")
      assert.matches("^checkout takes %d+ ms %(95th percentile%), usually %d+ ms$", t.alerts("segment_slow")[1].summary)
    end)

    it("is silent for a millisecond that becomes three", function()
      t.series { segment = "fast|p95", "1 x 120", "3 x 60", every = "1m" }
      t.advance("3h", "10s")
      assert.equal(0, #t.events "alert")
    end)

    it("resolves when the segment is gone", function()
      t.series { segment = "job|p95", "80 x 90", "900 x 20", every = "1m" }
      t.advance("108m", "10s")
      assert.fires("segment_slow", "job")
      t.advance("20m", "10s")
      assert.resolves("segment_slow", "job")
    end)
  end)

  describe("segment_failing", function()
    it("fires when more than one in twenty calls fails", function()
      t.series { segment = "checkout|p95", "80 x 60", every = "1m" }
      t.series { segment = "checkout|count", "100 x 60", every = "1m" }
      t.series { segment = "checkout|errors", "0 x 10", "20 x 10", "0 x 40", every = "1m" }
      t.advance "9m"
      assert.is_not.fires("segment_failing", "checkout")
      t.advance "9m"
      assert.fires("segment_failing", "checkout")
      assert.matches("calls failed within 5 minutes", t.alerts("segment_failing")[1].summary)
      t.advance "30m"
      assert.resolves("segment_failing", "checkout")
    end)

    it("is silent for a few failures among many", function()
      t.series { segment = "checkout|p95", "80 x 60", every = "1m" }
      t.series { segment = "checkout|count", "1000 x 60", every = "1m" }
      t.series { segment = "checkout|errors", "5 x 60", every = "1m" }
      t.advance "1h"
      assert.equal(0, #t.events "alert")
    end)
  end)
end)
