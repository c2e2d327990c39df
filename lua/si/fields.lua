--- Fields: checks the table that a word got, and turns "5m" and "8MiB" into numbers.
-- Problems are collected with file and line and loading goes on, so that one run of `si rules check` shows them all.

local core = require "si.core"

local fields = {}

--- Edit distance of two short texts (a swap of neighbours counts as one), for "did you mean".
function fields.distance(a, b)
  local before, row, earlier = {}, {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    earlier, before, row = before, row, { [0] = i }
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(before[j] + 1, row[j - 1] + 1, before[j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        row[j] = math.min(row[j], earlier[j - 2] + 1)
      end
    end
  end
  return row[#b]
end

--- The most similar of `names`, and how far it is, when near enough to be a slip of the keyboard.
function fields.nearest(name, names, most)
  local best, best_distance
  for _, candidate in ipairs(names) do
    if math.abs(#candidate - #name) <= 3 then
      local d = fields.distance(name, candidate)
      if d <= (most or math.max(1, #name // 3)) and (not best_distance or d < best_distance) then
        best, best_distance = candidate, d
      end
    end
  end
  return best, best_distance
end

--- Where a word was used: file, line, and what to call it in messages.
function fields.at(what)
  local file, line = core.where()
  return { file = file, line = line, what = what }
end

--- Reports a problem with a field. The line is that of `field` itself where it can be found.
function fields.problem(at, field, message, level)
  local line = field and core.line_of(at.file, at.line, field) or at.line
  core.problem(level or "error", at.file, line, at.what .. ": " .. message)
end

local function quote(v)
  return type(v) == "string" and ('"' .. v .. '"') or tostring(v)
end

local function is_list(t)
  local n = 0
  for _ in pairs(t) do n = n + 1 end
  return n == #t
end

local kinds = {}

function kinds.duration(spec, v)
  if type(v) ~= "string" then return nil, 'write a duration in quotes with its unit, such as "5m" (got ' .. quote(v) .. ")" end
  local ms, why = core.duration(v)
  if not ms then return nil, why end
  if spec.or_zero and ms == 0 then return ms end
  if spec.min and ms < core.duration(spec.min) then return nil, "at least " .. spec.min .. ", got " .. quote(v) end
  if spec.max and ms > core.duration(spec.max) then return nil, "at most " .. spec.max .. ", got " .. quote(v) end
  return ms
end

function kinds.size(spec, v)
  if type(v) ~= "string" and type(v) ~= "number" then return nil, 'write a size such as "8MiB" (got ' .. quote(v) .. ")" end
  local bytes, why = core.size(v)
  if not bytes then return nil, why end
  if bytes ~= bytes or bytes < 0 then return nil, "expected a size of 0 or more, got " .. quote(v) end
  if spec.or_zero and bytes == 0 then return bytes end
  if spec.min and bytes < core.size(spec.min) then return nil, "at least " .. spec.min .. ", got " .. quote(v) end
  if spec.max and bytes > core.size(spec.max) then return nil, "at most " .. spec.max .. ", got " .. quote(v) end
  return bytes
end

function kinds.number(spec, v)
  if type(v) ~= "number" or v ~= v then return nil, "expected a number, got " .. quote(v) end
  if spec.min and v < spec.min then return nil, "at least " .. spec.min .. ", got " .. v end
  if spec.max and v > spec.max then return nil, "at most " .. spec.max .. ", got " .. v end
  return v
end

function kinds.integer(spec, v)
  if math.type(v) ~= "integer" then return nil, "expected a whole number, got " .. quote(v) end
  return kinds.number(spec, v)
end

function kinds.string(spec, v)
  if type(v) ~= "string" then return nil, "expected text in quotes, got " .. quote(v) end
  if spec.max and #v > spec.max then return nil, "longer than " .. spec.max .. " bytes" end
  return v
end

function kinds.pattern(_, v)
  if type(v) ~= "string" then return nil, "expected a Lua pattern in quotes, got " .. quote(v) end
  local why = core.pattern_error(v)
  if why then return nil, why end
  return v
end

kinds["function"] = function(_, v)
  if type(v) ~= "function" then return nil, "expected a function, got " .. quote(v) end
  return v
end

kinds["text or function"] = function(_, v)
  if type(v) ~= "function" and type(v) ~= "string" then return nil, "expected text or a function, got " .. quote(v) end
  return v
end

function kinds.boolean(_, v)
  if type(v) ~= "boolean" then return nil, "expected true or false, got " .. quote(v) end
  return v
end

function kinds.choice(spec, v)
  for _, name in ipairs(spec.of) do
    if name == v then return v end
  end
  local near = type(v) == "string" and fields.nearest(v, spec.of)
  return nil, "expected one of " .. table.concat(spec.of, ", ") .. "; got " .. quote(v) .. (near and ('. Did you mean "' .. near .. '"?') or "")
end

--- A list of values of one kind; a single value stands for a list of one.
function kinds.list(spec, v, at, name)
  if type(v) ~= "table" then v = { v } end
  if not is_list(v) then return nil, "expected a list such as { \"a\", \"b\" }" end
  local out = {}
  for i, item in ipairs(v) do
    local value, why = kinds[spec.item.kind](spec.item, item, at, name)
    if value == nil then return nil, why end
    out[i] = value
  end
  return out
end

function kinds.table(spec, v, at, name)
  if type(v) ~= "table" then return nil, "expected a table { ... }, got " .. quote(v) end
  if not spec.fields then return v end
  local out, failed = fields.check(spec.fields, v, { file = at.file, line = at.line, what = at.what .. ", " .. name })
  if failed then return nil end -- said already
  return out
end

--- A value made by one of our own words, such as metric "..." .
function kinds.made(spec, v)
  local tag = fields.made_by(v)
  for _, word in ipairs(spec.by) do
    if tag == word then return v end
  end
  return nil, "expected " .. spec.example .. ", got " .. quote(v)
end

local made = setmetatable({}, { __mode = "k" })

--- Marks a table as made by a word; nothing in a rule file can forge the mark.
function fields.mark(t, word)
  made[t] = word
  return t
end

function fields.made_by(t) return made[t] end

--- Checks `t` against a description: name = { kind = ..., default = ..., required = ... }.
-- @return a new table with every field converted and every default filled in, and whether there was a problem
function fields.check(described, t, at, allow_list)
  local out, failed = {}, false
  local function complain(field, message)
    failed = true
    fields.problem(at, field, message)
  end
  local names = {}
  for name in pairs(described) do names[#names + 1] = name end
  table.sort(names)
  for key, value in pairs(t) do
    if type(key) ~= "string" then
      if not (allow_list and math.type(key) == "integer") then
        complain(nil, "unexpected value " .. quote(value) .. " without a field name")
      end
    elseif not described[key] then
      local near = fields.nearest(key, names)
      complain(key, 'unknown field "' .. key .. '"' .. (near and ('. Did you mean "' .. near .. '"?') or "; known are " .. table.concat(names, ", ")))
    end
  end
  for _, name in ipairs(names) do
    local spec, value = described[name], t[name]
    if value == nil then value = spec.default end
    if value ~= nil then
      local converted, why = kinds[spec.kind](spec, value, at, name)
      if converted == nil then
        if why then complain(name, 'field "' .. name .. '": ' .. why) end
        failed = true
      end
      out[name] = converted
    elseif spec.required then
      complain(nil, 'field "' .. name .. '" is missing' .. (spec.hint and (": " .. spec.hint) or ""))
    end
  end
  return out, failed
end

return fields
