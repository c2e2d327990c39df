-- The names that the language knows are those that the collectors put.

local t = require "si.testing"

local function names_in(path, skip)
  local names = {}
  for line in io.lines(path) do
    if not (skip and line:find(skip, 1, true)) then
      for name in line:gmatch '"(%l+%.[%w_.]+)"' do
        if name:find "^process%." or name:find "^system%." or name:find "^container%." or name:find "^lua%.[gm]" then names[name] = path end
      end
    end
  end
  return names
end

describe("metric names", function()
  local known = names_in("lua/si/metric.lua", "@usage")

  local sources = { "collectors/process.c", "collectors/host.c", "collectors/lua_garbage.c", "runtime/region_metrics.c", "runtime/agent.c" }

  for _, path in ipairs(sources) do
    it("of " .. path .. " are all known to rules", function()
      for name in pairs(names_in(path, "missing(")) do
        assert.is_truthy(known[name], name .. " is missing in lua/si/metric.lua")
      end
    end)
  end

  it("that are known are put by a collector", function()
    local put = {}
    for _, path in ipairs(sources) do
      for name in pairs(names_in(path, "missing(")) do put[name] = true end
    end
    for name in pairs(known) do assert.is_true(put[name], name .. " of lua/si/metric.lua is put by nobody") end
  end)

  it("that the default rules watch are put by a collector", function()
    local put = {}
    for _, path in ipairs(sources) do
      for name in pairs(names_in(path, "missing(")) do put[name] = true end
    end
    t.load_dir(nil)
    for _, rule in ipairs(t.rules()) do
      if rule.watch then assert.is_true(put[rule.watch], rule.name .. " watches " .. rule.watch) end
    end
  end)

  local function problem_of(name)
    local ok, problems = t.load_text(('rule "r" { watch = metric "%s", when = function() return false end }'):format(name))
    return not ok and problems or nil, t.events "log"
  end

  it("nearly like a built-in one are refused, with a suggestion", function()
    local problem = problem_of "process.cpu.utilisation"
    assert.matches('spec.lua:1: metric: unknown metric "process.cpu.utilisation". Did you mean "process.cpu.utilization"?', problem, 1, true)
  end)

  it("of one's own are fine", function()
    local problem, warnings = problem_of "queue.length"
    assert.is_nil(problem)
    assert.equal(0, #warnings)
  end)

  it("of one's own that look like a slip are warned about", function()
    local problem, warnings = problem_of "proces.cpu.utilization"
    assert.is_nil(problem)
    assert.equal(1, #warnings)
    assert.matches('Did you mean "process.cpu.utilization"', warnings[1].message, 1, true)
  end)
end)
