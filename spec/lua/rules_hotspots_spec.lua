local t = require "si.testing"

describe("rules/hotspots.lua", function()
  before_each(function() t.load "rules/hotspots.lua" end)

  it("fires when a profile leaves what it was for a day, and names the call sites", function()
    t.series { profile = "cpu", "10 ~ 2 x 720", "40 ~ 2 x 60", every = "2m" }
    t.series { callsite = "cpu|parse_json (libshop.so)", "2 ~ 0.5 x 720", "30 ~ 1 x 60", every = "2m" }
    t.series { callsite = "cpu|render (shop)", "3 ~ 0.5 x 780", every = "2m" }
    t.series { callsite = "lock|other (shop)", "1 x 720", "90 x 60", every = "2m" }
    t.advance("24h", "10s")
    assert.is_not.fires("hotspot", "cpu")
    t.advance("30m", "10s")
    assert.fires("hotspot", "cpu")
    local alert = t.alerts("hotspot", "cpu")[1]
    assert.matches("^cpu profile at %d+%.%d %%, usually %d+%.%d %%$", alert.summary)
    assert.matches("^parse_json %(libshop%.so%): [%d.]+, usually [%d.]+", alert.detail)
    assert.is_nil(alert.detail:find("other", 1, true)) -- another profile's
  end)

  it("is silent for a day of noise and single spikes", function()
    t.series { profile = "cpu", "10 ~ 4 x 300", 90, "10 ~ 4 x 200", 90, 90, "10 ~ 4 x 300", every = "2m" }
    t.advance("26h", "10s")
    for _, event in ipairs(t.events "alert") do assert.is_not.equal("firing", event.alerts[1].state) end
  end)

  it("is silent for small numbers: half a percent to one is no hot spot", function()
    t.series { profile = "cpu", "0.5 ~ 0.05 x 400", "1.2 ~ 0.05 x 100", every = "2m" }
    t.advance("16h", "10s")
    assert.equal(0, #t.events "alert")
  end)

  it("waits for an hour of data before it judges", function()
    t.series { profile = "cpu", "5 x 20", "50 x 20", every = "2m" }
    t.advance("80m", "10s")
    assert.equal(0, #t.events "alert")
  end)

  it("judges each profile by itself", function()
    t.series { profile = "cpu", "10 ~ 1 x 400", every = "2m" }
    t.series { profile = "lock", "5 ~ 1 x 300", "60 x 100", every = "2m" }
    t.advance("12h", "10s")
    assert.fires("hotspot", "lock")
    assert.is_not.fires("hotspot", "cpu")
  end)

  it("resolves when it is over", function()
    t.series { profile = "cpu", "10 ~ 2 x 400", "50 x 20", "10 ~ 2 x 60", every = "2m" }
    t.advance("13h40m", "10s")
    assert.fires("hotspot", "cpu")
    t.advance("90m", "10s")
    assert.resolves("hotspot", "cpu")
  end)

  for profile, scale in pairs { cpu = 10, heap = 200 * 2^20, alloc = 40 * 2^20, lock = 100, network = 800, system = 300, channel = 500 } do
    it("finds a step of twice as much in the " .. profile .. " profile within 15 minutes", function()
      t.series { profile = profile, ("%d ~ %d x 360"):format(scale, scale // 10), ("%d ~ %d x 20"):format(2 * scale, scale // 5), every = "2m" }
      t.advance("12h", "10s")
      assert.is_not.fires("hotspot", profile)
      t.advance("15m", "10s")
      assert.fires("hotspot", profile)
    end)
  end

  it("says amounts in the profile's unit", function()
    t.series { profile = "alloc", "2097152 x 360", "20971520 x 20", every = "2m" }
    t.series { profile = "lock", "50 x 360", "500 x 20", every = "2m" }
    t.advance("12h15m", "10s")
    assert.equal("alloc profile at 20.0 MiB/s, usually 2.0 MiB/s", t.alerts("hotspot", "alloc")[1].summary)
    assert.equal("lock profile at 500 ms/s, usually 50 ms/s", t.alerts("hotspot", "lock")[1].summary)
  end)

  it("takes a nightly job for usual from the second night on", function()
    local night = { "10 ~ 1 x 600", "40 ~ 1 x 15", "10 ~ 1 x 105" } -- a day of points, half an hour of them a job's
    t.series { profile = "cpu", every = "2m", night[1], night[2], night[3], night[1], night[2], night[3], night[1], night[2], night[3] }
    t.advance("24h", "10s")
    local first = #t.events "alert"
    assert.is_true(first > 0)
    t.advance("48h", "10s")
    assert.equal(first, #t.events "alert")
  end)
end)
