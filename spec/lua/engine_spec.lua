-- The life of an alert: hold, keep, clear, missing data, one alert per subject, flapping, restarts.

local t = require "si.testing"

local function load(text) assert.is_truthy(t.load_text(text)) end

local function states(rule, subject)
  local out = {}
  for _, event in ipairs(t.events "alert") do
    local a = event.alerts[1]
    if a.rule == rule and (not subject or a.subject == subject) then out[#out + 1] = a.state end
  end
  return table.concat(out, " ")
end

describe("hold", function()
  before_each(function() load 'rule "hot" { watch = metric "m", every = "1s", hold = "1m", keep = "0s", when = function(s) return s:last() > 5 end }' end)

  it("makes an alert wait, pending", function()
    t.series { metric = "m", "9 x 20", every = "10s" }
    t.advance "65s"
    assert.pending "hot"
    t.advance "10s"
    assert.fires "hot"
    assert.equal("pending firing", states "hot")
  end)

  it("starts over when the condition was false in between", function()
    t.series { metric = "m", "9 x 5", 1, "9 x 5", 1, every = "10s" }
    t.advance "2m"
    assert.is_not.fires "hot"
    assert.equal("pending inactive pending inactive", states "hot")
  end)

  it("remembers when it began", function()
    t.series { metric = "m", "9 x 20", every = "10s" }
    local start = t.now()
    t.advance "80s"
    local alert = t.alerts("hot")[1]
    assert.equal(start + 10000, alert.started_ms)
    assert.equal(start + 70000, alert.fired_ms)
    assert.equal(9, alert.value)
  end)
end)

describe("keep and clear", function()
  it("hold an alert up until it is clear for that long", function()
    load 'rule "hot" { watch = metric "m", every = "1s", keep = "1m", when = function(s) return s:last() > 5 end, clear = function(s) return s:last() < 3 end }'
    t.series { metric = "m", "9 x 3", "4 x 10", "1 x 3", "4 x 3", "1 x 30", every = "10s" }
    t.advance "2m" -- 4 is neither
    assert.fires "hot"
    t.advance "80s" -- clear for 30 s, then not
    assert.fires "hot"
    t.advance "60s"
    assert.resolves "hot"
    assert.equal("firing resolved", states "hot")
  end)

  it("default to five minutes, and to the opposite of when", function()
    load 'rule "hot" { watch = metric "m", every = "1s", when = function(s) return s:last() > 5 end }'
    t.series { metric = "m", "9 x 2", "1 x 60", every = "10s" }
    t.advance "5m"
    assert.fires "hot"
    t.advance "40s"
    assert.resolves "hot"
  end)

  it("let it fire anew afterwards", function()
    load 'rule "hot" { watch = metric "m", every = "1s", keep = "0s", when = function(s) return s:last() > 5 end }'
    t.series { metric = "m", 9, 1, 9, 1, every = "1m" }
    t.advance "5m"
    assert.equal("firing resolved firing resolved", states "hot")
  end)
end)

describe("no_data", function()
  local function rule(fields)
    load('rule "r" { watch = metric "m", every = "1s", keep = "0s", no_data_after = "1m", when = function(s) return s:last() > 5 end, ' .. fields .. " }")
  end

  it('"keep" keeps the state', function()
    rule 'no_data = "keep"'
    t.series { metric = "m", "9 x 3" }
    t.advance "1h"
    assert.fires "r"
  end)

  it('"resolve" resolves', function()
    rule 'no_data = "resolve"'
    t.series { metric = "m", "9 x 3" }
    t.advance "80s"
    assert.fires "r"
    t.advance "20s"
    assert.resolves "r"
  end)

  it('"fire" fires, and says why', function()
    rule 'no_data = "fire", grace = "0s"'
    t.series { metric = "m", "1 x 3" }
    t.advance "80s"
    assert.is_not.fires "r"
    t.advance "20s"
    assert.fires "r"
    assert.equal("No data for 1 min.", t.alerts("r")[1].detail)
    t.series { metric = "m", "1 x 3" }
    t.advance "30s"
    assert.resolves "r"
  end)

  it('"fire" leaves a program time to start', function()
    rule 'no_data = "fire", grace = "10m"'
    t.advance "9m"
    assert.is_not.fires "r"
    t.advance "2m"
    assert.fires "r"
  end)

  it("of something that was never seen is no alert by default", function()
    rule ""
    t.advance "1h"
    assert.equal("", states "r")
  end)
end)

describe("over", function()
  it("has one alert per subject", function()
    load 'rule "deep" { over = metrics "queue%..*", keep = "0s", when = function(s) return s:last() > 100 end, summary = function(s) return s:name() .. " is full" end }'
    t.series { metric = "queue.mail", "500 x 10" }
    t.series { metric = "queue.jobs", "5 x 5", "500 x 5" }
    t.series { metric = "other", "500 x 10" }
    t.advance "40s"
    assert.fires("deep", "queue.mail")
    assert.is_not.fires("deep", "queue.jobs")
    t.advance "1m"
    assert.fires("deep", "queue.jobs")
    assert.equal(2, #t.alerts "deep")
    assert.equal("queue.mail is full", t.alerts("deep", "queue.mail")[1].summary)
    assert.is_not.equal(t.alerts("deep")[1].fingerprint, t.alerts("deep")[2].fingerprint)
  end)

  it("goes on judging a call site that fell out of the top", function()
    load 'rule "big" { over = callsites { profile = "cpu", top = 1 }, every = "1s", keep = "0s", when = function(s) return s:last() > 10 end }'
    t.series { callsite = "cpu|a", "50 x 3", "20 x 3", "1 x 5" }
    t.series { callsite = "cpu|b", "5 x 3", "90 x 8" }
    t.advance "25s"
    assert.fires("big", "a")
    t.advance "30s"
    assert.fires("big", "a")
    assert.fires("big", "b")
    t.advance "30s"
    assert.resolves("big", "a")
  end)

  it("looks at segments as a whole", function()
    load [[rule "s" { over = segments "check.*", when = function(s)
      seen = ("%s p95=%g p50=%g calls=%g errors=%g"):format(s:name(), s:p(95), s:p(50, "5m"), s:calls(), s:errors "5m")
      return true end, summary = function() return seen end }]]
    t.series { segment = "checkout|p95", "100 x 3", every = "1m" }
    t.series { segment = "checkout|p50", "20 x 1", "40 x 2", every = "1m" }
    t.series { segment = "checkout|count", "7 x 3", every = "1m" }
    t.series { segment = "checkout|errors", "2 x 3", every = "1m" }
    t.series { segment = "other|p95", "100 x 3", every = "1m" }
    t.advance "70s"
    assert.equal("checkout p95=100 p50=20 calls=7 errors=2", t.alerts("s")[1].summary)
    assert.equal(1, #t.alerts "s")
  end)
end)

describe("a rule's functions", function()
  it("see windows in numbers", function()
    load [[rule "r" { watch = metric "m", every = "1s", when = function(s)
      if s:count "5m" < 10 then return false end
      local trend = s:theil_sen "10m"
      text = ("%g %g %g %g %g %g %g %g"):format(s:avg "5m", s:min "5m", s:max "5m", s:sum "5m", s:delta "5m", s:rate "5m",
        s:percentile(90, "5m"), s:median_last(3))
      return true, 42 end, summary = function() return text end }]]
    t.series { metric = "m", "1 .. 10 x 10" }
    t.advance "101s"
    assert.equal("5.5 1 10 55 9 0.1 9 9", t.alerts("r")[1].summary)
    assert.equal(42, t.alerts("r")[1].value)
  end)

  it("see nothing as not a number, so that comparisons are false", function()
    load [[rule "r" { watch = metric "m", every = "1s", no_data_after = "1h", when = function(s)
      return s:avg "10s" > 0 or s:avg "10s" <= 0 or s:baseline("24h"):z(5) > 0 or s:theil_sen("1h").tau > -2 end }]]
    t.series { metric = "m", "1 x 1" }
    t.advance "30s"
    assert.equal("", t.rule("r").error)
    t.advance "1m"
    assert.equal("", t.rule("r").error)
  end)

  it("are told what is wrong with an argument", function()
    load 'rule "r" { watch = metric "m", when = function(s) return s:avg(300) > 0 end }'
    t.series { metric = "m", "1 x 1" }
    t.advance "20s"
    assert.equal("spec.lua:1: bad argument #1 to 'avg' (expected a window in quotes, such as \"5m\")", t.rule("r").error)
  end)

  it("do not share globals with other files", function()
    t.reset()
    assert.is_truthy(t.reload_files {
      ["a.lua"] = 'mine = 1 string.mine = 1 rule "a" { watch = metric "m", when = function() return mine == 1 and string.mine == 1 end }',
      ["b.lua"] = 'rule "b" { watch = metric "m", when = function() return mine ~= nil or string.mine ~= nil or ("").mine ~= nil end }',
    })
    t.series { metric = "m", "1 x 3" }
    t.advance "30s"
    assert.fires "a"
    assert.is_not.fires "b"
  end)

  it("may keep their own memory between calls", function()
    load 'local n = 0 rule "r" { watch = metric "m", every = "1s", when = function() n = n + 1 return n > 5 end }'
    t.series { metric = "m", "1 x 3" }
    t.advance "12s"
    assert.is_not.fires "r"
    t.advance "5s"
    assert.fires "r"
  end)
end)

describe("flapping", function()
  it("is said once, and then nothing until it is quiet", function()
    load [[
      route { to = "slack:x", wait = "0s", interval = "1s", resend = "10h" }
      rule "r" { watch = metric "m", every = "1s", keep = "0s", when = function(s) return s:last() > 5 end }]]
    local points = { metric = "m", every = "2m" }
    for _ = 1, 20 do points[#points + 1] = 9 points[#points + 1] = 1 end
    t.series(points)
    t.advance "78m"
    local messages = t.messages()
    assert.equal(7, #messages) -- three times up and down, and the fourth
    assert.matches("^Flapping: fired 4 times within 12 min", messages[7].alerts[1].detail)
    t.advance "2h" -- quiet, and resolved: said
    assert.equal(8, #t.messages())
    assert.equal("resolved", t.messages()[8].alerts[1].state)
  end)
end)

describe("at", function()
  it("agent rules run at the agent, dashboard rules at the dashboard", function()
    local text = [[
      rule "here" { watch = metric "m", when = function() return true end }
      rule "there" { watch = metric "m", at = "dashboard", when = function() return true end }]]
    for _, dashboard in ipairs { false, true } do
      t.reset { dashboard = dashboard }
      assert.is_truthy(t.reload_text(text))
      t.series { metric = "m", "1 x 3" }
      t.advance "30s"
      assert.equal(dashboard and 0 or 1, #t.alerts "here")
      assert.equal(dashboard and 1 or 0, #t.alerts "there")
    end
  end)

  it("enabled = false turns a rule off", function()
    load 'rule "r" { watch = metric "m", enabled = false, when = function() return true end }'
    t.series { metric = "m", "1 x 3" }
    t.advance "30s"
    assert.equal(0, #t.alerts())
  end)
end)
