-- A profile that is not what it usually is: its last few values against the last 24 hours of the same profile.

-- The smallest deviation that counts: a smaller one is none, however quiet the profile has been.
local floor = {
  cpu = 1,          -- percent of the available cores
  heap = 16 * 2^20, -- bytes in use
  alloc = 2^20,     -- bytes allocated a second
  lock = 10,        -- the four sorts of waiting: milliseconds waited a second, by all threads together
  network = 50,
  system = 20,
  channel = 50,
}

-- Is the profile `times` what it usually is, and more than `far` of its own deviations away? Three ways to see that, each of
-- them several tests at once, so that false alarms are rare (./dev bench anomaly counts them):
local function unusual(p, far, times)
  local smallest = floor[p:name()]
  local day = p:baseline("24h", { min_points = 60, floor = smallest })
  local now, lowest = p:median_last(7), p:count("10m") >= 4 and p:min("10m") or 0
  -- What came at this time yesterday as well is usual, such as a nightly job.
  if now < 1.25 * day.same_hour_held then return false end
  -- It is above nearly all of the day.
  if day:z(now) > far and now > times * day.median and now > day.p98 then return true end
  -- Or it does not come down any more: a profile with many spikes, or with a job every hour.
  if day:z(lowest) > far and lowest > times * day.median then return true end
  -- Or it is nothing special for noon, but this is midnight: against the last two hours, and the same hour yesterday.
  local lately = p:baseline("2h", { min_points = 20, floor = smallest })
  return now > times * day.same_hour and lately:z(now) > far and now > times * lately.median and now > lately.p98
end

-- In the profile's own unit, as people write it.
local function amount(p, value)
  local unit = p:name()
  if unit == "cpu" then return ("%.1f %%"):format(value) end
  if unit == "heap" then return ("%.1f MiB"):format(value / 2^20) end
  if unit == "alloc" then return ("%.1f MiB/s"):format(value / 2^20) end
  return ("%.0f ms/s"):format(value)
end

rule "hotspot" {
  severity = "warning",
  summary = function(p)
    return ("%s profile at %s, usually %s"):format(p:name(), amount(p, p:median_last(7)), amount(p, p:baseline("24h").median))
  end,
  over = profiles { "cpu", "heap", "alloc", "lock", "network", "system", "channel" },
  when = function(p) return unusual(p, 3, 1.5) end,
  clear = function(p) return not unusual(p, 2, 1.2) end,
  hold = "3m",
  keep = "10m",
  no_data_after = "30m", -- profiles of a program that does little come seldom
  attach = function(p) return p:top_growth(5) end, -- the call sites that grew most
}
