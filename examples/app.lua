-- A Lua program that observes itself: counts words in made-up letters until its time is over.
--   lua5.4 examples/app.lua [SECONDS]       (SI_DASHBOARD_URL and SI_AGENT_KEY say where reports go)
local si = require "si"

local runtime <close> = assert(si.open { app_name = "letters", app_version = "1.0" }) -- luacheck: ignore 211
local seconds = tonumber(arg[1]) or 10
local stock = { "dear", "reader", "the", "lamp", "you", "ordered", "has", "left", "our", "house", "today" }

local function write_letter(number)
  local words = {}
  for i = 1, 2000 do words[i] = stock[(number * 31 + i * i) % #stock + 1] end
  return table.concat(words, " ")
end

local function count_words(letter)
  local counts = {}
  for word in letter:gmatch("%a+") do counts[word] = (counts[word] or 0) + 1 end
  return counts
end

local function check(counts, number)
  if number % 100 == 0 then error("letter " .. number .. " has no addressee") end
  return counts.lamp
end

local letters, ends = 0, os.time() + seconds
while os.time() < ends do
  letters = letters + 1
  local letter = si.segment("write letter", write_letter, letters)
  local counts
  do
    local measured <close> = si.segment "count words" -- luacheck: ignore 211
    counts = count_words(letter)
  end
  local ok, why = pcall(check, counts, letters)
  if not ok then si.error("letter refused", why) end
  si.counter("letters.written")
  si.gauge("letter.length", #letter)
end
print(("%d letters in %d s"):format(letters, seconds))
