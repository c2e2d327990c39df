-- docs/rules-reference.md is what its script makes, and the script insists on a docstring for every word, field and method.

local reference = dofile "docs/rules-reference.lua"
local read = reference.read

local function with(path, change)
  reference.read = function(asked)
    local text = read(asked)
    if asked ~= path then return text end
    local changed, n = change(text)
    assert(n == 1, "nothing was changed in " .. path)
    return changed
  end
  finally(function() reference.read = read end)
  local ok, message = pcall(reference.page)
  return ok, message
end

describe("docs/rules-reference.md", function()
  it("is what the docstrings say: run lua5.4 docs/rules-reference.lua > docs/rules-reference.md", function()
    assert.is_true(read "docs/rules-reference.md" == reference.page(), "docs/rules-reference.md is not what docs/rules-reference.lua prints")
  end)

  it("cannot be made when a method has no docstring", function()
    local ok, message = with("runtime/script/handle.c", function(s) return s:gsub("/%* s:avg%(window%).-%*/\n", "") end)
    assert.is_false(ok)
    assert.matches("avg", message, 1, true)
  end)

  it("cannot be made when a method is registered under another name than its docstring's", function()
    local ok, message = with("runtime/script/handle.c", function(s) return s:gsub('{"delta", delta}', '{"change", delta}') end)
    assert.is_false(ok)
    assert.matches("the docstring of delta is not", message, 1, true)
  end)

  it("cannot be made when a field has no docstring", function()
    local ok, message = with("lua/si/rule.lua", function(s) return s:gsub(" %-%-%- how often it is evaluated", "") end)
    assert.is_false(ok)
    assert.matches("lua/si/rule.lua: the field every of rule has no docstring", message, 1, true)
  end)

  it("cannot be made when a word has no docstring", function()
    local ok, message = with("lua/si/route.lua", function(s) return s:gsub("%-%-%- inhibit {.-\nfunction", "function") end)
    assert.is_false(ok)
    assert.matches("the word inhibit has no docstring", message, 1, true)
  end)
end)
