-- luacheck: globals collectd
-- The same three kinds of rule as bench/rules_set/bench.lua, written for collectd's Lua plugin, which brings no windows of its own. As careful as
-- ours: a baseline is sorted once a minute, a trend is fitted when one of its stretches ends. Each call is ten seconds of life.

local minutes, calls = 1440, 0
local series = {}

local function noise(s, m)
  local x = ((s * 2654435761) & 0xffffffff) ~ ((m * 40503) & 0xffffffff)
  x = ((x ~ x >> 15) * 2246822519) & 0xffffffff
  x = ((x ~ x >> 13) * 3266489917) & 0xffffffff
  return (x >> 8) / (1 << 24)
end

local function value(s, m)
  if s < 500 then return 0.3 + 0.4 * noise(s, m) end
  if s < 800 then return 100 + 20 * noise(s, m) + 30 * math.sin(m / 229.2) end
  return 16e6 + 1e6 * noise(s, m)
end

for s = 0, 999 do
  local ring = {}
  for m = 0, minutes - 1 do ring[m] = value(s, m) end
  series[s] = { ring = ring }
end

local function median(sorted)
  local n = #sorted
  return n % 2 == 1 and sorted[n // 2 + 1] or (sorted[n // 2] + sorted[n // 2 + 1]) / 2
end

local function baseline(e)
  if e.minute == minutes then return e end
  local sorted = {}
  for m = minutes - 1440, minutes - 16 do sorted[#sorted + 1] = e.ring[m] end
  table.sort(sorted)
  e.median, e.p98 = median(sorted), sorted[math.ceil(0.98 * #sorted)]
  local away = {}
  for i, v in ipairs(sorted) do away[i] = math.abs(v - e.median) end
  table.sort(away)
  e.scale, e.minute = math.max(1.4826 * median(away), 0.05 * e.median, 5), minutes
  return e
end

local function trend(e)
  if e.part == minutes // 8 then return e end
  local y, slopes, agree = {}, {}, 0
  for p = 0, 44 do
    local sum = 0
    for m = minutes - 360 + p * 8, minutes - 353 + p * 8 do sum = sum + e.ring[m] end
    y[p] = sum / 8
  end
  for i = 0, 44 do
    for j = i + 1, 44 do
      agree = agree + (y[j] > y[i] and 1 or -1)
      slopes[#slopes + 1] = (y[j] - y[i]) / ((j - i) * 8 / 60)
    end
  end
  table.sort(slopes)
  e.slope, e.tau, e.part = median(slopes), agree / #slopes, minutes // 8
  return e
end

local fired = 0

collectd.register_read(function()
  calls = calls + 1
  if calls % 6 == 0 then
    for s = 0, 999 do
      series[s].ring[minutes] = value(s, minutes)
      series[s].ring[minutes - 1441] = nil
    end
    minutes = minutes + 1
  end
  for s = 0, 499 do
    local r, sum = series[s].ring, 0
    for m = minutes - 5, minutes - 1 do sum = sum + r[m] end
    if sum / 5 > 0.85 then fired = fired + 1 end
  end
  for s = 500, 799 do
    local b, r = baseline(series[s]), series[s].ring
    local last = { r[minutes - 1], r[minutes - 2], r[minutes - 3] }
    table.sort(last)
    local now = last[2]
    if (now - b.median) / b.scale > 4 and now > 1.5 * b.median and now > 1.1 * b.p98 then fired = fired + 1 end
  end
  for s = 800, 999 do
    local t = trend(series[s])
    if t.slope > 0.05 * series[s].ring[minutes - 1] and t.tau > 0.6 then fired = fired + 1 end
  end
  collectd.log_notice("bench: " .. calls)
  return 0
end)
