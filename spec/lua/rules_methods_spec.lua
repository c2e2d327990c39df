-- What is said about methods and fields that do not exist: with file and line, and what was probably meant.

local t = require "si.testing"

local function check(when)
  local dir = os.tmpname()
  os.remove(dir)
  assert(os.execute(("mkdir '%s'"):format(dir)))
  local file = assert(io.open(dir .. "/mine.lua", "w"))
  file:write(('rule "mine" { watch = metric "queue.length",\n  when = function(s) %s end }\n'):format(when))
  file:close()
  local problems, lines = t.check(dir)
  os.remove(dir .. "/mine.lua")
  os.remove(dir)
  return problems, table.concat(lines, "\n")
end

describe("a misspelt method", function()
  for wrong, right in pairs { ["s:agv('5m') > 1"] = "avg", ["s:percentil(90, '5m') > 1"] = "percentile",
    ["s:median_lst(3) > 1"] = "median_last", ["s:thiel_sen('6h').tau > 1"] = "theil_sen", ["s.lats() > 1"] = "last" } do
    it("such as " .. wrong .. " is found by check, with what was meant", function()
      local problems, text = check("return " .. wrong)
      assert.equal(1, problems)
      assert.matches("mine.lua:2: a series has no method '[%l_]+'%. Did you mean '" .. right .. "'%?", text)
    end)
  end

  it("that is like nothing is refused all the same", function()
    local _, text = check "return s:holtwinters('5m')"
    assert.matches("mine.lua:2: a series has no method 'holtwinters' (in rule", text, 1, true)
    _, text = check "return s[1] > 2"
    assert.matches("a series has no method 'number'", text, 1, true)
  end)

  it("of a baseline names those that there are", function()
    local _, text = check "return s:baseline('24h').mean > 1"
    assert.matches("a baseline has median, mad, p98, n, same_hour, same_hour_held, scale and z, and no 'mean'", text, 1, true)
  end)
end)

describe("a correct method", function()
  it("is no problem", function()
    assert.equal(0, (check "return s:avg('5m') > 1"))
  end)
end)
