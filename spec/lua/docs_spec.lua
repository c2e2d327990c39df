-- docs/rules.md says what is so: its examples load, and it names every field, word and method.

local t = require "si.testing"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

local guide = read "docs/rules.md"

describe("docs/rules.md", function()
  local n = 0
  for block in guide:gmatch "```lua\n(.-)```" do
    block = block:gsub("\n +```$", "")
    local word = block:match "^%s*(%a+)"
    if word ~= "when" and not block:find("describe", 1, true) then
      n = n + 1
      it("has an example " .. n .. " (" .. word .. ") that loads", function()
        local ok, why = t.load_text(block)
        assert.is_truthy(ok, why)
      end)
    end
  end

  it("has examples", function() assert.is_true(n >= 6) end)

  it("documents every method of a series", function()
    local methods = read("runtime/script/handle.c"):match "luaL_Reg methods%[%].-};"
    local seen = 0
    for name in methods:gmatch '{"([%w_]+)"' do
      seen = seen + 1
      assert.is_truthy(guide:find("s:" .. name .. "(", 1, true), "s:" .. name .. " is not documented")
    end
    assert.is_true(seen >= 18)
  end)

  it("documents every word and field", function()
    for _, file in ipairs { "rule", "cadence", "segment", "route", "slo" } do
      local source = read("lua/si/" .. file .. ".lua")
      for name in source:gmatch "\n +([%l_]+) = { kind = " do
        assert.is_truthy(guide:find(name, 1, true), name .. " of lua/si/" .. file .. ".lua is not documented")
      end
    end
    for name in read("lua/si/engine.lua"):match("return {(.-)\n  }"):gmatch "([%l]+) = " do
      assert.is_truthy(guide:find(name, 1, true), "the word " .. name .. " is not documented")
    end
  end)

  it("documents everything that the sandbox allows", function()
    local source = read "runtime/script/sandbox.c"
    for name in source:match("base_names%[%].-};"):gmatch '"(%w+)"' do
      assert.is_truthy(guide:find("%f[%w]" .. name .. "%f[%W]"), name .. " is not documented")
    end
  end)
end)
