-- The Lua module `si`: what its functions return and raise, and that what they record arrives at a dashboard.
local si = require "si"

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- Runs a Lua program against a server that decodes reports; returns what arrived, by name.
local function arrived(program, ...)
  local command = { "sh", "spec/lua_module/with_sink.sh", quoted(os.getenv "SI_BINARY_DIR"), quoted(program), ... }
  local pipe = assert(io.popen(table.concat(command, " ") .. " 2>&1"))
  local text = pipe:read "a"
  assert.is_true(pipe:close(), text)
  local counts = {}
  for name, number in text:gmatch "([%w_]+)=(%d+)" do counts[name] = tonumber(number) end
  return counts
end

local function program(text)
  local path = os.tmpname()
  finally(function() os.remove(path) end)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

describe("si.open", function()
  it("opens one runtime per process and closes it", function()
    local runtime = assert(si.open { app_name = "spec" })
    local second, why = si.open {}
    assert.is_nil(second)
    assert.matches("SI_EEXIST", why)
    assert.is_true(runtime:close())
    assert.is_true(runtime:close())
    assert.is_true(assert(si.open()):close(1000))
  end)

  it("closes at the end of a block, also by an error", function()
    pcall(function()
      local runtime <close> = assert(si.open { app_name = "spec" }) -- luacheck: ignore 211
      error "boom"
    end)
    local again = assert(si.open { app_name = "spec" })
    assert.is_true(si.close(again))
  end)

  it("refuses options that do not exist or have the wrong type", function()
    assert.has_error(function() si.open { app_nam = "spec" } end, "unknown option: app_nam")
    assert.has_error(function() si.open { app_name = 7 } end, "option app_name must be a string")
    assert.has_error(function() si.open "spec" end)
  end)

  it("takes no timeout that is not one", function()
    local runtime <close> = assert(si.open())
    assert.has_error(function() runtime:close(-1) end)
  end)

  it("has methods that refuse another object", function()
    local segment = si.segment "x"
    assert.has_error(function() si.close(segment) end)
    segment:stop()
  end)
end)

describe("si.segment", function()
  it("hands arguments and results through", function()
    assert.same({ 3, nil, "x", n = 3 }, table.pack(si.segment("s", function(a, b) return a + b, nil, "x" end, 1, 2)))
    assert.same({ n = 0 }, table.pack(si.segment("s", function() end)))
  end)

  it("lets errors through as they are", function()
    local object = {}
    local ok, raised = pcall(si.segment, "s", error, object)
    assert.is_false(ok)
    assert.equal(object, raised)
  end)

  it("may be left and entered again by coroutines", function()
    local step = coroutine.wrap(function()
      return si.segment("s", function(a) return a, coroutine.yield(a + 1) end, 1)
    end)
    assert.equal(2, step())
    assert.same({ 1, "back" }, { step "back" })
  end)

  it("is an object without a function, which stops once", function()
    local segment = si.segment "s"
    segment:stop()
    segment:stop()
  end)

  it("wants a name and a function", function()
    assert.has_error(function() si.segment() end)
    assert.has_error(function() si.segment("s", 7) end)
  end)
end)

describe("metrics and errors", function()
  it("check their arguments, with a runtime or without", function()
    si.gauge("g", 1)
    si.counter "c"
    si.error("group", { "any value" })
    assert.has_error(function() si.counter("c", -1) end)
    assert.has_error(function() si.gauge "g" end)
    assert.has_error(function() si.error() end)
  end)
end)

describe("a Lua program", function()
  it("sends what it recorded", function()
    local counts = arrived(program [[
      local si = require "si"
      local runtime = assert(si.open { app_name = "spec" })
      for i = 1, 5 do si.segment("work", function() return i end) end
      pcall(si.segment, "work", error)
      do local s <close> = si.segment "block" end
      for _ = 1, 3 do si.error("group", "message") end
      assert(runtime:flush(5000))
      assert(runtime:close(5000))
    ]])
    assert.equal(7, counts.segments)
    assert.equal(3, counts.errors)
    assert.equal(0, counts.malformed)
  end)

  it("is profiled: examples/app.lua", function()
    local counts = arrived("examples/app.lua", "3")
    assert.is_true(counts.samples > 0)
    assert.is_true(counts.segments > 100)
    assert.is_true(counts.errors > 0)
  end)

  it("closes the runtime that it forgot", function()
    local counts = arrived(program [[
      local si = require "si"
      runtime = assert(si.open { app_name = "spec" })
      si.error("group", "message")
    ]])
    assert.equal(1, counts.errors)
  end)
end)
