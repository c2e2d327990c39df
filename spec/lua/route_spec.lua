-- Who is told, when, and how often.

local t = require "si.testing"

local RULES = [[
rule "hot" { severity = "critical", watch = metric "hot", every = "1s", keep = "0s", when = function(s) return s:last() > 5 end }
rule "slow" { severity = "warning", watch = metric "slow", every = "1s", keep = "0s", when = function(s) return s:last() > 5 end }
rule "queue" { severity = "warning", over = metrics "queue%..*", every = "1s", keep = "0s", when = function(s) return s:last() > 5 end }
]]

local function load(routes)
  local ok, why = t.load_text(RULES .. routes)
  assert.is_truthy(ok, why)
end

local function sent()
  local out = {}
  for _, m in ipairs(t.messages()) do
    local names = {}
    for _, a in ipairs(m.alerts) do names[#names + 1] = a.rule .. (a.subject ~= "" and "(" .. a.subject .. ")" or "") .. " " .. a.state end
    table.sort(names)
    out[#out + 1] = m.to .. ": " .. table.concat(names, ", ")
  end
  return out
end

describe("routes", function()
  it("take the deepest that matches, and the route itself otherwise", function()
    load 'route { to = "slack:all", { match = { severity = "critical" }, to = "pagerduty:core" }, { match = { rule = "qu*" }, to = { "email:a", "email:b" } } }'
    assert.equal("pagerduty:core", t.route { rule = "hot", severity = "critical" })
    assert.equal("email:a,email:b", t.route { rule = "queue", severity = "warning" })
    assert.equal("slack:all", t.route { rule = "slow", severity = "warning" })
  end)

  it("go on to the next with continue", function()
    load 'route { to = "slack:all", { match = { severity = "critical" }, to = "pagerduty:core", continue = true }, { match = { rule = "hot" }, to = "email:a" } }'
    assert.equal("pagerduty:core,email:a", t.route { rule = "hot", severity = "critical" })
  end)

  it("match lists and every label", function()
    load 'route { match = { app = { "shop", "cart" }, environment = "prod*", host = "db*", subject = "x" }, to = "slack:a" }'
    assert.equal("slack:a", t.route { app = "cart", environment = "production", host = "db1", subject = "x" })
    assert.equal("", t.route { app = "other", environment = "production", host = "db1", subject = "x" })
    assert.equal("", t.route { app = "cart", environment = "test", host = "db1", subject = "x" })
  end)

  it("without any, nobody is told", function()
    load ""
    t.series { metric = "hot", "9 x 30" }
    t.advance "5m"
    assert.fires "hot"
    assert.equal(0, #t.messages())
  end)
end)

describe("groups", function()
  it("travel in one message", function()
    load 'route { to = "slack:a", group_by = { "rule" }, wait = "30s", interval = "1m", resend = "1h" }'
    t.series { metric = "queue.a", "9 x 60" }
    t.series { metric = "queue.b", "1 x 1", "9 x 60" }
    t.series { metric = "hot", "9 x 60" }
    t.advance "50s"
    local all = sent()
    table.sort(all)
    assert.same({ "slack:a: hot firing", "slack:a: queue(queue.a) firing, queue(queue.b) firing" }, all)
  end)

  it("wait, then speak at most every interval", function()
    load 'route { to = "slack:a", group_by = { "rule" }, wait = "30s", interval = "5m", resend = "1h" }'
    t.series { metric = "queue.a", "9 x 200" }
    t.series { metric = "queue.b", "1 x 10", "9 x 200" }
    t.advance "2m"
    assert.equal(1, #sent())
    t.advance "3m"
    assert.equal(1, #sent()) -- queue.b fires, but it is not time yet
    t.advance "1m"
    assert.same({ "slack:a: queue(queue.a) firing", "slack:a: queue(queue.a) firing, queue(queue.b) firing" }, sent())
  end)

  it("remind, and say when it is over", function()
    load 'route { to = "slack:a", wait = "0s", interval = "1m", resend = "10m" }'
    t.series { metric = "hot", "9 x 150", "1 x 10" }
    t.advance "24m"
    assert.same({ "slack:a: hot firing", "slack:a: hot firing", "slack:a: hot firing" }, sent())
    t.advance "5m"
    assert.equal("slack:a: hot resolved", sent()[4])
    t.advance "1h"
    assert.equal(4, #sent())
  end)

  it("say nothing of what was over before anybody was told", function()
    load 'route { to = "slack:a", wait = "1m" }'
    t.series { metric = "hot", "9 x 3", "1 x 60" }
    t.advance "10m"
    assert.equal(0, #sent())
  end)
end)

describe("escalation", function()
  local ROUTE = 'route { to = "slack:a", wait = "0s", resend = "10h", escalate = { { after = "15m", unless = "acked", to = "email:leads" }, { after = "1h", to = "pagerduty:boss" } } }'

  it("comes once, when nobody has seen the alert", function()
    load(ROUTE)
    t.series { metric = "hot", "9 x 600" }
    t.advance "14m"
    assert.same({ "slack:a: hot firing" }, sent())
    t.advance "70m"
    assert.same({ "slack:a: hot firing", "email:leads: hot firing", "pagerduty:boss: hot firing" }, sent())
  end)

  it("does not come when somebody has", function()
    load(ROUTE)
    t.series { metric = "hot", "9 x 600" }
    t.advance "5m"
    assert.is_true(t.ack(t.alerts("hot")[1]))
    t.advance "50m"
    assert.same({ "slack:a: hot firing" }, sent())
  end)

  it("does not come when it is over", function()
    load(ROUTE)
    t.series { metric = "hot", "9 x 30", "1 x 600" }
    t.advance "1h"
    assert.is_nil(table.concat(sent(), "\n"):find("email", 1, true))
  end)
end)

describe("inhibit", function()
  local INHIBIT = 'route { to = "slack:a", wait = "0s", interval = "1s", resend = "10h" }\ninhibit { source = { rule = "hot" }, target = { severity = "warning" }, equal = { "host" } }'

  it("holds back what has a bigger cause", function()
    load(INHIBIT)
    t.series { metric = "hot", "9 x 60" }
    t.series { metric = "slow", "1 x 2", "9 x 60" }
    t.advance "5m"
    assert.fires "slow"
    assert.same({ "slack:a: hot firing" }, sent())
  end)

  it("lets it through when the cause is gone and it still fires", function()
    load(INHIBIT)
    t.series { metric = "hot", "9 x 30", "1 x 60" }
    t.series { metric = "slow", "1 x 2", "9 x 90" }
    t.advance "10m"
    assert.same({ "slack:a: hot firing", "slack:a: hot resolved", "slack:a: slow firing" }, (function() local s = sent() table.sort(s) return s end)())
  end)
end)

describe("a restart", function()
  it("neither forgets nor repeats", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(RULES, 'route { to = "slack:a", wait = "10s", interval = "1m", resend = "1h" }')
    file:close()
    finally(function() os.remove(path) end)
    t.load(path)
    t.series { metric = "hot", "9 x 100" }
    t.advance "5m"
    assert.same({ "slack:a: hot firing" }, sent())
    t.restart(path)
    t.series { metric = "hot", "9 x 60", "1 x 60" }
    t.advance "9m"
    assert.same({ "slack:a: hot firing" }, sent())
    t.advance "8m"
    assert.same({ "slack:a: hot firing", "slack:a: hot resolved" }, sent())
  end)

  it("again and again does not put a message off for ever", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(RULES, 'route { to = "slack:perf", wait = "30s" }')
    file:close()
    finally(function() os.remove(path) end)
    t.load(path)
    t.series { metric = "hot", "9 x 100", every = "1s" }
    for _ = 1, 3 do
      t.advance "9s"
      t.restart(path)
    end
    assert.equal(0, #t.messages "slack:perf")
    t.advance "9s"
    t.restart(path)
    t.advance "9s"
    assert.equal(1, #t.messages "slack:perf")
  end)
end)
