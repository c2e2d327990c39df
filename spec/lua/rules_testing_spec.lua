-- What somebody reads whose spec fails: the rule, its state, what it saw, and where it stands.

local t = require "si.testing"

local rules = [[
rule "busy" { watch = metric "load", hold = "5m", when = function(s) return s:avg("5m") > 5 end }
rule "long" { over = metrics "queue.*", when = function(s) return s:last() > 10 end }
route { to = "slack:all", { match = { rule = "busy" }, to = "pagerduty:core" } }
]]

local function failure(...)
  local ok, message = pcall(...)
  assert.is_false(ok)
  return type(message) == "table" and tostring(message.message or message[1] or message) or tostring(message)
end

local function says(message, ...)
  for _, part in ipairs { ... } do assert.matches(part, message, 1, true) end
end

describe("a failed assertion of si.testing", function()
  before_each(function()
    assert.is_true(t.load_text(rules, "mine.lua"))
    t.series { metric = "load", "1 x 10", "6 x 10", every = "1m" }
  end)

  it("says what the rule saw when it should have fired", function()
    t.advance "10m"
    says(failure(assert.fires, "busy"), "Expected this rule to fire:", "busy", "inactive after", 's:avg("5m") = 1', "-> false",
      "hold is 300 s", "(mine.lua:1, 600 s after the start)")
  end)

  it("says for how long it has been pending", function()
    t.advance "17m"
    assert.pends "busy"
    assert.pending "busy"
    says(failure(assert.fires, "busy"), "pending for", "-> true")
    says(failure(assert.is_not.pends, "busy"), "Expected this rule not to be pending:")
  end)

  it("says that no series matched", function()
    t.advance "1m"
    says(failure(assert.fires, "long"), "(no series matched)", "it is about nothing that is known now")
  end)

  it("shows each subject of a rule that is over many", function()
    t.series { metric = "queue.a", "20 x 5", every = "1m" }
    t.series { metric = "queue.b", "2 x 5", every = "1m" }
    t.advance "3m"
    assert.fires("long", "queue.a")
    says(failure(assert.fires, "long", "queue.b"), "queue.b: last 2", "s:last() = 2")
    says(failure(assert.is_not.fires, "long"), "Expected this rule not to fire:", 'firing about "queue.a"')
  end)

  it("names the rules there are when the name is misspelt", function()
    says(failure(assert.fires, "bussy"), "no rule of that name is loaded; loaded are: busy, long")
  end)

  it("says who was told", function()
    t.advance "21m"
    assert.fires "busy"
    t.advance "2m"
    assert.routes_to "pagerduty:core"
    says(failure(assert.routes_to, "slack:all"), "Expected a message to:", "slack:all", "sent to pagerduty:core: busy firing")
    says(failure(assert.is_not.routes_to, "pagerduty:core"), "Expected no message to:")
    says(failure(assert.resolves, "busy"), "Expected this rule to have fired and to be resolved:", "firing for")
  end)

  it("does not pass for what never fired: resolves", function()
    t.advance "5m"
    says(failure(assert.resolves, "busy"), "inactive after")
  end)
end)

describe("mistakes in a spec", function()
  it("are named: a point, a duration, a file, a series without a name", function()
    assert.is_true(t.load_text(rules, "mine.lua"))
    says(failure(t.series, { metric = "load", "0.9 times 3" }), 'cannot read "0.9 times 3": write "0.9 x 30"')
    says(failure(t.advance, "5"), 'expected a duration such as "5m", got 5')
    says(failure(t.load, "rules/nowhere.lua"), "rules/nowhere.lua: No such file or directory")
    says(failure(t.series, { "1 x 2" }), "name the series")
  end)

  it("in a rule file are an error with file and line", function()
    local _, problems = t.load_text('rule "x" { watch = metric "load", hold = 300, when = function() end }', "mine.lua")
    says(problems, 'mine.lua:1: rule "x": field "hold": write a duration in quotes with its unit, such as "5m" (got 300)')
  end)
end)
