local t = require "si.testing"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

-- `good` of 100 calls a minute are shorter than 250 ms.
local function feed(good, minutes)
  local segment = "http /checkout"
  t.series { segment = segment .. "|p95", "100 x " .. minutes, every = "1m" }
  t.series { segment = segment .. "|total", "100 x " .. minutes, every = "1m" }
  t.series { segment = segment .. "|failed", "0 x " .. minutes, every = "1m" }
  t.series { segment = segment .. "|below250", good .. " x " .. minutes, every = "1m" }
end

describe("rules/objectives.lua", function()
  it("is off as it comes", function()
    t.load "rules/objectives.lua"
    feed(50, 100)
    t.advance("100m", "10s")
    assert.equal(0, #t.events "alert")
    assert.is_false(t.rule("checkout.burn.1h").enabled)
  end)

  it("without its last line pages while the budget burns", function()
    local on, changed = read("rules/objectives.lua"):gsub("  enabled = false,\n", "")
    assert.equal(1, changed)
    assert.is_true(t.load_text(on, "objectives.lua"))
    feed(100, 60)
    t.advance("60m", "10s")
    assert.is_not.fires "checkout.burn.1h"
    feed(50, 60) -- half of them are too slow: 50 times the budget
    t.advance("40m", "10s")
    assert.fires("checkout.burn.1h", "http /checkout")
    assert.matches("the budget burns [%d.]+ times too fast", t.alerts("checkout.burn.1h")[1].summary)
  end)
end)
