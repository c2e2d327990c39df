-- A Lua program that is profiled: nothing changes for it, and its functions are in its stacks.
local si = require "si"

local binary = os.getenv "SI_BINARY_DIR"

local function temporary(text)
  local path = os.tmpname()
  finally(function() os.remove(path) end)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

local function output_of(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "a"
  pipe:close()
  return text
end

describe("si.attach", function()
  it("has happened, can be undone and done again", function()
    assert.is_true(si.attach())
    local followed = coroutine.resume
    assert.is_true(si.detach())
    assert.is_false(si.detach())
    assert.are_not.equal(followed, coroutine.resume)
    assert.is_true(si.attach())
  end)

  it("changes nothing about coroutines", function()
    local text = [[
      if ... then require "si" end
      local function show(...) print(select("#", ...), ...) end
      show(pcall(coroutine.resume, 1))
      show(pcall(coroutine.resume))
      show(pcall(coroutine.wrap, 1))
      local co = coroutine.create(function(a, ...) local b = coroutine.yield(a, ...) error("end " .. b) end)
      show(coroutine.resume(co, 1, nil, 3))
      show(coroutine.resume(co, "x"))
      show(coroutine.resume(co))
      show(coroutine.close(co), coroutine.status(co))
      local gen = coroutine.wrap(function() coroutine.yield(nil, 2) error "in wrap" end)
      show(gen())
      show(pcall(function() local x = gen() return x end))
      show(pcall(gen))
      local object = setmetatable({}, {__tostring = function() return "object" end})
      show(pcall(coroutine.wrap(function() error(object) end)))
      show(pcall(coroutine.wrap(function()
        local c <close> = setmetatable({}, {__close = function() error("closing", 0) end})
        error "lost"
      end)))
      show(xpcall(coroutine.wrap(function() local x = nil + 1 return x end), function(m) return "handled " .. m end))
      show(coroutine.wrap(function() return coroutine.isyieldable(), coroutine.running() ~= nil end)())
      local deep = coroutine.wrap(function() return pcall(function() return coroutine.yield("deep") end) end)
      show(deep()) show(deep(7))
      local function nest(n) if n == 0 then return 0 end return 1 + coroutine.wrap(nest)(n - 1) end
      show(nest(100)) show((pcall(nest, 10000)))
      local me me = coroutine.wrap(function() return pcall(me) end) show(me())
      print((debug.traceback("tb", 1):gsub("0x%x+", "")))
      debug.sethook(function() end, "l") show(debug.gethook() ~= nil, select(2, debug.gethook()))
    ]]
    local path = temporary(text)
    assert.equal(output_of("lua5.4 " .. path), output_of("lua5.4 " .. path .. " attached"))
  end)
end)

describe("si.handler", function()
  it("hands arguments, results and errors through", function()
    local add = si.handler("GET /add", function(a, b, ...) return a + b, ..., nil end)
    assert.same({ 3, "x", nil, n = 3 }, table.pack(add(1, 2, "x")))
    local object = {}
    local ok, raised = pcall(si.handler("GET /fail", error), object)
    assert.is_false(ok)
    assert.equal(object, raised)
    assert.has_error(function() si.handler("GET /") end)
  end)

  it("may yield", function()
    local step = coroutine.wrap(si.handler("GET /slow", function(a) return 200, coroutine.yield(a) end))
    assert.equal(1, step(1))
    assert.same({ 200, "back" }, { step "back" })
    coroutine.close(coroutine.create(si.handler("GET /", coroutine.yield)))
  end)
end)

describe("si.call and si.pcall", function()
  it("hand arguments, results and errors through", function()
    assert.same({ 3, nil, n = 2 }, table.pack(si.call("sql", "SELECT", function(a, b) return a + b, nil end, 1, 2)))
    assert.has_error(function() si.call("sql", "SELECT", error, "text") end, "text")
    assert.has_error(function() si.call("telepathy", "x") end)
    local open = si.call("http", "GET host")
    open:stop()
    open:stop()
    assert.same({ true, 1, nil, n = 3 }, table.pack(si.pcall(function(...) return ... end, 1, nil)))
    assert.same({ false, "text" }, { si.pcall(error, "text") })
    local step = coroutine.wrap(function() return si.pcall(coroutine.yield, 1) end)
    assert.equal(1, step())
    assert.same({ true, 2 }, { step(2) })
  end)
end)

describe("si run", function()
  local work = [[
    local function spin(n) local x = 0 for i = 1, n do x = x + i % 7 end return x end
    local function through(n) return (select(2, pcall(spin, n))) end
    local function resumed(n) return coroutine.wrap(function() return (spin(n)) end)() end
    local ends = os.clock() + 1
    while os.clock() < ends do spin(2e5) through(2e5) resumed(2e5) end
    print(os.getenv "LUA_INIT_5_4", os.getenv "LUA_INIT", initialized, ...)
  ]]

  local function folded(variables)
    local path, folder = temporary(work), os.tmpname()
    os.remove(folder)
    finally(function() os.execute("rm -rf " .. folder) end)
    local command = variables .. " " .. binary .. "/bin/si run --folded " .. folder .. " -- lua5.4 " .. path .. " argument"
    local out = output_of(command)
    local file = assert(io.open(folder .. "/cpu.folded"), out)
    local times, total = { ["main chunk;spin"] = 0, ["main chunk;through;.*spin"] = 0, ["main chunk;resumed;function.*spin"] = 0 }, 0
    for line in file:lines() do
      local us = tonumber(line:match "(%d+)$")
      total = total + us
      for pattern, sum in pairs(times) do if line:find(pattern) then times[pattern] = sum + us end end
    end
    file:close()
    return times, total, out
  end

  it("shows Lua's functions of an interpreter that knows nothing of it", function()
    local times, total, out = folded ""
    assert.equal("nil\tnil\tnil\targument\n", out)
    for pattern, us in pairs(times) do assert.is_true(us > total / 12, pattern .. ": " .. us .. " of " .. total) end
  end)

  it("leaves LUA_INIT to whoever set it", function()
    local times, total, out = folded "LUA_INIT='initialized = 1'"
    assert.equal("nil\tinitialized = 1\t1\targument\n", out)
    assert.is_true(times["main chunk;spin"] > total / 12)
    out = select(3, folded "LUA_INIT_5_4='initialized = 2 error(\"stop\")'")
    assert.matches("^lua5.4: LUA_INIT_5_4:1: stop\n", out)
  end)
end)
