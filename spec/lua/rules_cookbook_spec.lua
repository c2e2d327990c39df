-- docs/cookbook.md: every rule passes `si rules check`, fires on what it is about, and is silent on what is usual.

local t = require "si.testing"

local function recipes()
  local file = assert(io.open "docs/cookbook.md")
  local text = file:read "a"
  file:close()
  local list = {}
  for section in (text .. "\n## "):gmatch "%f[#]## (.-)\n%f[#]" do
    local number, title, body = section:match "^(%d+)%. ([^\n]+)\n(.*)$"
    list[tonumber(number)] = { title = title, code = assert(body:match "```lua\n(.-)```", title) }
  end
  return list
end

local all = recipes()

local function check(code)
  local dir = os.tmpname()
  os.remove(dir)
  assert(os.execute(("mkdir '%s'"):format(dir)))
  local path = dir .. (code:find "route {" and "/routing.lua" or "/mine.lua") -- routes replace the default ones
  local file = assert(io.open(path, "w"))
  file:write(code)
  file:close()
  local problems, lines = t.check(dir)
  os.remove(path)
  os.remove(dir)
  return problems, table.concat(lines, "\n")
end

local function metric(name) return function(...) t.series { metric = name, every = "1m", ... } end end
local function profile(name) return function(...) t.series { profile = name, every = "2m", ... } end end

local function checkout(p95)
  t.series { segment = "checkout|p95", p95 .. " x 20", every = "1m" }
  t.series { segment = "checkout|total", "30 x 20", every = "1m" }
end

local function search(good)
  t.series { segment = "search|p95", "100 x 100", every = "1m" }
  t.series { segment = "search|total", "100 x 100", every = "1m" }
  t.series { segment = "search|failed", "0 x 100", every = "1m" }
  t.series { segment = "search|below200", good .. " x 100", every = "1m" }
end

-- What each is fed so that it fires, and so that it does not; for how long, and what the alert is about.
local tries = {
  { "queue_long", metric "queue.length", { "2000 x 20" }, { "10 x 2", "2000 x 4", "10 x 2", "2000 x 4" }, "12m" },
  { "queue_filling", metric "queue.length", { "1000 .. 7000 x 60" }, { "5000 ~ 800 x 90" }, "80m" },
  { "no_orders", metric "orders.placed", { "2 x 10", "0 x 20" }, { "0 x 5", "1 x 25" }, "25m" },
  { "any_queue_long", metric "queue.mail.length", { "2000 x 20" }, { "100 x 20" }, "10m", "queue.mail.length" },
  { "cache_misses", metric "cache.miss_ratio", { "0.1 ~ 0.02 x 600", "0.4 x 30" }, { "0.1 ~ 0.02 x 630" }, "10h20m" },
  { "container_memory_soon", metric "container.memory.utilization", { "0.4 .. 0.9 x 40" }, { "0.9 ~ 0.02 x 60" }, "40m" },
  { "throttled", metric "container.cpu.throttled", { "0.3 x 20" }, { "0 x 15", "0.3 x 2", "0 x 10" }, "20m" },
  { "cpu_hog", function(...) t.series { callsite = "cpu|hash (shop)", every = "2m", ... } end, { "50 x 30" }, { "20 x 30" }, "50m", "hash (shop)" },
  { "lock_convoy", profile "lock", { "3000 x 20" }, { "900 x 20" }, "20m", "lock" },
  { "fsync_slow", metric "process.system.longest_wait", { "0 x 5", "12 x 3" }, { "1 x 20" }, "7m" },
  { "churn", metric "process.heap.allocated", { "900000000 x 40" }, { "100000000 x 40" }, "30m" },
  { "checkout_slow", checkout, { 400 }, { 120 }, "10m", "checkout" },
  { "search.burn.1h", search, { 50 }, { 100 }, "90m", "search" },
  { "new_error", function(...) t.series { error = "db timeout", every = "2m", ... } end, { "1 x 5" }, { "0 x 400", "1 x 5" }, "9m", "db timeout" },
  false,
  { "restarted", metric "process.uptime", { "3000 .. 3600 x 10", "10 .. 200 x 4" }, { "3000 .. 4000 x 20" }, "14m" },
}

describe("docs/cookbook.md", function()
  it("has at least 15 rules, each of them tried here", function()
    assert.is_true(#all >= 15)
    assert.equal(#all, #tries)
  end)

  for number, recipe in ipairs(all) do
    it(("number %d, %s, passes si rules check"):format(number, recipe.title), function()
      local problems, lines = check(recipe.code)
      assert.equal(0, problems, lines)
      assert.equal("", lines)
    end)

    local try = tries[number]
    if try then
      local name, feed, bad, good, after, subject = table.unpack(try, 1, 6)
      it(("number %d fires on what it is about"):format(number), function()
        assert.is_true(t.load_text(recipe.code, "cookbook.lua"))
        feed(table.unpack(bad))
        t.advance(after, "10s")
        assert.fires(name, subject)
      end)

      it(("number %d is silent on what is usual"):format(number), function()
        assert.is_true(t.load_text(recipe.code, "cookbook.lua"))
        feed(table.unpack(good))
        t.advance(after, "10s")
        assert.is_not.fires(name, subject)
        for _, event in ipairs(t.events "log") do assert.is_true(event.level < 2, event.message) end
      end)
    end
  end

  it("number 15 routes as it says", function()
    assert.is_true(t.load_text(all[15].code, "cookbook.lua"))
    local function to(severity, environment) return t.route { rule = "x", severity = severity, environment = environment } end
    assert.equal("", to("critical", "staging"))
    assert.equal("", to("critical", "dev-anna"))
    assert.equal("pagerduty:core,slack:team", to("critical", "production"))
    assert.equal("slack:team", to("warning", "production"))
  end)
end)
