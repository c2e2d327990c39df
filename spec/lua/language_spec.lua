-- What the language refuses, and how it says so: file, line, and a suggestion where there is one.

local t = require "si.testing"

local function problems(text)
  local ok, why = t.load_text(text)
  assert.is_nil(ok, "this should have been refused:\n" .. text)
  return why
end

local function refused(text, ...)
  local why = problems(text)
  for _, part in ipairs { ... } do assert.matches(part, why, 1, true) end
end

local function accepted(text)
  local ok, why = t.load_text(text)
  assert.is_truthy(ok, why)
end

describe("a rule file", function()
  it("with a syntax error is refused with its line", function()
    refused("rule 'a' {\n  when = function( end\n}", "spec.lua:2: ")
  end)

  it("shows every problem at once, in order of lines", function()
    local why = problems [[
rule "a" { watch = metric "x", when = 1 }
rule "b" { watch = metric "x" }
rule "c" { when = function() end }
]]
    assert.matches("spec.lua:1:.*\nspec.lua:2:.*\nspec.lua:3:", why)
  end)

  it("points at the line of the field, not of the rule", function()
    refused('rule "a" {\n  watch = metric "x",\n  when = function() end,\n  hold = 5,\n}', 'spec.lua:4: rule "a": field "hold"')
  end)

  it("can use what is allowed", function()
    accepted [[
      local t = {}
      for i, v in ipairs { 3, 1, 2 } do t[i] = v end
      table.sort(t)
      assert(#t == 3 and math.max(table.unpack(t)) == 3 and ("x"):rep(3) == "xxx" and tostring(1) == "1")
      assert(select("#", pcall(error)) == 2 and next({}) == nil and utf8.len "ä" == 1)
      local Base = setmetatable({}, { __index = function(_, k) return k end })
      assert(Base.name == "name")
    ]]
  end)
end)

describe("the word rule", function()
  local function rule(fields) return 'rule "a" { watch = metric "x", when = function() return false end, ' .. fields .. " }" end

  it("knows its fields and guesses what was meant", function()
    refused(rule "severty = 'critical'", 'unknown field "severty". Did you mean "severity"?')
    refused(rule "foo = 1", 'unknown field "foo"; known are at, attach, clear')
  end)

  it("checks severities", function()
    refused(rule "severity = 'critcal'", 'expected one of critical, warning, info; got "critcal". Did you mean "critical"?')
  end)

  it("wants units on durations", function()
    refused(rule "hold = 300", 'field "hold": write a duration in quotes with its unit, such as "5m" (got 300)')
    refused(rule "hold = '5 minutes'", '"5 minutes" is not a duration')
    refused(rule "hold = '5'", '"5" is not a duration')
    refused(rule "every = '10ms'", 'at least 1s, got "10ms"')
    accepted(rule "hold = '1h30m', keep = '1.5h', every = '90s'")
  end)

  it("needs when, and one of watch and over", function()
    refused('rule "a" { watch = metric "x" }', 'field "when" is missing')
    refused('rule "a" { when = function() end }', "needs either watch or over, and not both")
    refused(rule "over = segments '.*'", "needs either watch or over, and not both")
    refused('rule "a" { watch = "x", when = function() end }', 'field "watch": expected metric "name", got "x"')
    refused('rule "a" { over = metric "x", when = function() end }', 'field "over": expected one of metrics')
    refused('rule "a" { over = { kind = "segments", pattern = "x" }, when = function() end }', 'field "over": expected one of')
  end)

  it("wants a name of its own", function()
    refused('rule "a b" {}', "a rule's name is 1 to 63 letters")
    refused('rule(5) {}', "a rule's name is 1 to 63 letters")
    refused('rule "a" { watch = metric "x", when = function() end }\nrule "a" { watch = metric "x", when = function() end }',
      'spec.lua:2: rule "a": declared twice; the other one is at spec.lua:1')
    refused('rule "a"', 'spec.lua:1: rule "a": its table { ... } is missing')
  end)

  it("cannot be used once the rules run", function()
    accepted('rule "a" { watch = metric "x", when = function() rule "b" {} end }')
    t.series { metric = "x", "1 x 3" }
    t.advance "30s"
    assert.matches("spec.lua:1: rules are declared when the file is loaded, not later", t.rule("a").error, 1, true)
  end)
end)

describe("what a rule is about", function()
  it("is checked", function()
    refused("x = profiles { 'cpu', 'lok' }", 'profiles: field "types": expected one of cpu, heap, alloc, lock, network, system, channel; got "lok". Did you mean "lock"?')
    refused("x = callsites { top = 0 }", 'callsites: field "top": at least 1, got 0')
    refused("x = callsites { min = '8 megs' }", '"8 megs" is not a size')
    refused("x = segments '('", "segments: malformed pattern (missing ')')")
    refused("x = errors '%'", "errors: malformed pattern (ends with '%')")
    refused("x = metric(5)", "metric: expected a name")
    accepted("x = callsites { profile = 'heap', top = 10, min = '8 MiB' } y = errors {} z = segments()")
  end)
end)

describe("the word cadence", function()
  it("is checked, down to its tables", function()
    refused("cadence { metrics = '60' }", '"60" is not a duration')
    refused("cadence { cpu = { hz = '100' } }", 'spec.lua:1: cadence, cpu: field "hz": expected a number, got "100"')
    refused("cadence { cpu = { hz = 5000 } }", "at most 1000")
    refused("cadence { overhead = { cpu = 5 } }", "at most 1, got 5")
    refused("cadence { memory = {} }", 'unknown field "memory"')
    refused("cadence { heap = { bytes = '1KiB' } }", 'field "bytes": at least 4KiB')
    refused("cadence { heap = { bytes = '512 kilo' } }", "is not a size")
    refused("cadence { wait = { mean = '10' } }", '"10" is not a duration')
    refused("cadence { wait = { men = '10ms' } }", 'Did you mean "mean"')
  end)

  it("says how the heap and the waits are sampled", function()
    accepted "cadence { heap = { bytes = '1MiB' }, wait = { mean = '20ms', span = '4s', background_mean = '0ms' } }"
    local c = t.cadence()
    assert.same({ 2^20, 20e6, 0, 16000, 4000 }, { c.heap_bytes, c.wait_mean_ns, c.wait_background_ns, c.wait_every_ms, c.wait_span_ms })
    accepted "cadence { heap = { bytes = 0 }, wait = { mean = '0s' } }"
    assert.same({ 0, 0, 100e6, 16000 }, { t.cadence().heap_bytes, t.cadence().wait_mean_ns, t.cadence().wait_background_ns, t.cadence().wait_span_ms })
  end)

  it("stands once in all files", function()
    refused("cadence {}\ncadence {}", "spec.lua:2: cadence: declared twice; the other one is at spec.lua:1")
  end)

  it("follows its function every minute, by the clock of the machine", function()
    accepted [[
      cadence { cpu = { hz = 100 }, when = function(now, host)
        assert(now.hour >= 0 and now.hour < 24 and now.minute < 60 and now.wday >= 1 and now.wday <= 7 and host.cpu_quota == 4)
        if now.time % 600 < 300 then return { cpu = { hz = 10 }, metrics = "5s" } end
      end }]]
    t.advance "20m"
    local seen = {}
    for _, c in ipairs(t.events "cadence") do seen[#seen + 1] = c.cpu_hz .. "/" .. c.metrics_ms end
    assert.is_true(#seen >= 4)
    assert.matches("10.0/5000.0 100.0/60000.0", table.concat(seen, " "), 1, true)
  end)

  it("keeps its table when its function fails", function()
    accepted "cadence { report = '30s', when = function() return { cpu = { hz = 'many' } } end }"
    t.advance "3m"
    assert.equal(30000, t.cadence().report_ms)
    assert.matches('cadence: .*field "hz": expected a number', t.events("log")[1].message)
  end)
end)

describe("the word segment", function()
  it("is checked", function()
    refused("segment '[' {}", 'segment "[": malformed pattern')
    refused("segment 'x' { percentiles = { 50, 101 } }", "at most 99.9")
    refused("segment 'x' { name = 5 }", "expected text or a function")
    refused("segment 'x'", "its table { ... } is missing")
  end)

  it("applies the first that matches as a whole", function()
    accepted [[
      segment "job %d+" { name = "job" }
      segment "job .*" { name = function(n) return n:upper() end, percentiles = { 50, 99.9 } }
    ]]
    assert.equal("job", (t.segment "job 5"))
    assert.equal("JOB 5B", (t.segment "job 5b"))
    assert.equal("a job 5", (t.segment "a job 5"))
    assert.same({ 50, 99.9 }, select(2, t.segment "job 5b"))
    assert.same({ 50, 95, 99 }, select(2, t.segment "other"))
  end)
end)

describe("the words route and inhibit", function()
  it("check destinations", function()
    refused("route { to = 'slak:x' }", 'unknown kind "slak"; known are slack, email, webhook, pagerduty. Did you mean "slack:x"?')
    refused("route { to = 'the team' }", 'a name is letters, digits, _ . or -')
    refused("route { to = 'slack:a b' }", 'a name is letters, digits, _ . or -')
    refused("route { to = 5 }", 'field "to": expected text in quotes, got 5')
    accepted("route { to = { 'slack:perf', 'email:ops', 'webhook:x-1', 'pagerduty:core', 'default', 'on-call' } }")
  end)

  it("check labels, severities and rules", function()
    accepted("route { match = { rule = 'whatever' } }") -- a set of a few files: the rule may be elsewhere
    refused("route { match = { severty = 'critical' } }", 'unknown field "severty". Did you mean "severity"?')
    refused("route { match = { severity = 'high' } }", 'no severity is called "high"')
    refused("route { group_by = { 'rule', 'team' } }", 'expected one of app, environment, host, rule, severity, subject; got "team"')
    refused("inhibit { source = {}, target = { severity = 'info' } }", "an empty source would match every alert")
    refused("inhibit { target = {} }", 'field "source" is missing')
  end)

  it("find routes that can never match", function()
    refused("route { to = 'slack:a' }\nroute { to = 'slack:b' }", "spec.lua:2: route: can never match: the one before it, at spec.lua:1, takes every alert")
    refused("route { { to = 'slack:a' }, { match = { severity = 'info' }, to = 'slack:b' } }", "nested route 2: can never match")
    refused("route { match = { severity = 'warning' }, { match = { severity = 'critical' }, to = 'slack:b' } }",
      'nested route 1: can never match: its "severity" contradicts the route around it')
    accepted("route { { to = 'slack:a', continue = true }, { match = { severity = 'info' }, to = 'slack:b' } }")
    accepted("route { match = { rule = 'cpu_*' }, { match = { rule = 'cpu_high' }, to = 'slack:b' } }")
  end)

  it("check escalations", function()
    refused("route { escalate = { { after = '15m' } } }", 'field "to" is missing')
    refused("route { escalate = { { after = 15, to = 'email:x' } } }", "write a duration in quotes")
    refused("route { escalate = { { after = '15m', unless = 'seen', to = 'email:x' } } }", "expected one of acked")
  end)
end)

describe("the whole set", function()
  it("knows every rule: a route to a misspelt one is refused", function()
    local dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir " .. dir))
    local file = assert(io.open(dir .. "/routing.lua", "w"))
    file:write "route { to = 'slack:x', { match = { rule = 'cpu_hihg' }, to = 'slack:y' } }"
    file:close()
    local ok, why = t.load_dir(dir)
    local count, lines = t.check(dir)
    os.remove(dir .. "/routing.lua")
    os.remove(dir)
    assert.is_nil(ok)
    assert.matches('no rule is called "cpu_hihg". Did you mean "cpu_high"?', why, 1, true)
    assert.equal(1, count)
    assert.equal(why, lines[1])
  end)

  it("of the defaults has no problem and no warning", function()
    local count, lines = t.check(nil)
    assert.same({}, lines)
    assert.equal(0, count)
  end)
end)
