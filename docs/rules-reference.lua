-- Makes docs/rules-reference.md from what stands beside the functions: the docstrings of lua/si/*.lua and of runtime/script/handle.c.
-- Write it:  lua5.4 docs/rules-reference.lua > docs/rules-reference.md
-- spec/lua/rules_reference_spec.lua fails when the page is not what this prints, or when a word, a field or a method has no docstring.

local M = {}

--- A spec puts its own in place of it.
function M.read(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

local function problem(...) error(string.format(...), 0) end

-- ---- Words ---------------------------------------------------------------------------------------------------------

-- Word -> file and function, as lua/si/engine.lua hands them out.
local function words()
  local list = {}
  for name, file, fn in M.read("lua/si/engine.lua"):match("function engine%.words.-\nend"):gmatch "([%l]+) = (%l+)%.(%l+)" do
    if file == "rule" and fn == "metric" then file, fn = "metric", "word" end
    list[#list + 1] = { name = name, file = "lua/si/" .. file .. ".lua", fn = fn }
  end
  return list
end

--- The comment right above a function: its example, and what it says.
local function docstring(word)
  local lines, found = {}, nil
  for line in (M.read(word.file) .. "\n"):gmatch "(.-)\n" do
    if line:find "^%-%-" then
      if line:find "^%-%-%- " then lines = {} end
      lines[#lines + 1] = line:gsub("^%-%-%-?%s?", "")
    else
      if line:find("^function %a+%." .. word.fn .. "%(") or line:find("^M%." .. word.fn .. " = ") then found = lines end
      lines = {}
    end
    if found then break end
  end
  if not found or #found == 0 then problem("%s: the word %s has no docstring", word.file, word.name) end
  local text = table.concat(found, " ")
  local example, meaning = text:match "^(.-[%}\"]): (.+)$"
  if not example or not example:find("^" .. word.name .. " ") then
    problem('%s: the docstring of %s is not "%s ...: what it is"', word.file, word.name, word.name)
  end
  return example, (meaning:gsub("^%l", string.upper):gsub("([^%.])$", "%1."))
end

-- ---- Fields --------------------------------------------------------------------------------------------------------

local described_by = {
  rule = "rule_fields", callsites = "callsite_fields", profile = "profile_fields", cadence = "cadence_fields",
  segment = "segment_fields", slo = "slo_fields", route = "route_fields", inhibit = "inhibit_fields",
}

local function list_of(text)
  local out = {}
  for v in text:gmatch "[^,]+" do out[#out + 1] = "`" .. v:match "^%s*(.-)%s*$" .. "`" end
  return table.concat(out, ", ")
end

local function value_of(spec, file)
  local kind = spec:match 'kind = "([%l ]+)"' or "table"
  local of = spec:match "[{ ]of = {(.-)}"
  if kind == "choice" then
    local variable = spec:match "[{ ]of = ([%a_]+)"
    if variable then of = M.read(file):match("local " .. variable .. " = {(.-)}") end
    return list_of(of)
  end
  if kind == "made" then
    local by = spec:match "by = {(.-)}"
    if not by then by = M.read(file):match("local " .. spec:match "by = ([%a_]+)" .. " = {(.-)}") end
    return "made by " .. list_of((by:gsub('"', "")))
  end
  local low, high = spec:match 'min = "?([^",} ]+)', spec:match 'max = "?([^",} ]+)'
  if kind == "string" then return "text" end
  if kind == "list" then return "list" end
  if low and high then return ("%s, %s to %s"):format(kind, low, high) end
  return kind .. (low and (", at least " .. low) or "") .. (high and (", at most " .. high) or "")
end

local function default_of(spec)
  if spec:find "required = true" then return "needed" end
  local default = spec:match "default = ({.-})" or spec:match 'default = ("[^"]*")' or spec:match "default = ([^,} ]+)"
  return default and default ~= "{}" and default ~= '""' and ("`" .. default .. "`") or ""
end

--- The fields of a table: rows of { name, value, default, meaning }; nested ones with their path.
local function fields_of(word)
  local variable, rows, path, above = described_by[word.name], {}, {}, nil
  if not variable then return rows end
  local block = M.read(word.file):match("\nlocal " .. variable .. " = {\n(.-)\n}\n")
  if not block then problem("%s: no table %s", word.file, variable) end
  local lines = {}
  for line in (block .. "\n"):gmatch "(.-)\n" do lines[#lines + 1] = line end
  for i, line in ipairs(lines) do
    local name, spec = line:match "^%s*([%a_]+) = {(.*)$"
    if name == "default" then name = nil end
    local meaning = line:match " %-%-%- (.+)$" or above
    above = line:match "^%s*%-%-%- (.+)$"
    if name == "fields" or name == "item" then
      path[#path + 1] = false
    elseif name then
      if not meaning then problem("%s: the field %s of %s has no docstring", word.file, name, word.name) end
      local full = {}
      for _, p in ipairs(path) do full[#full + 1] = p or nil end
      full[#full + 1] = name
      local opens = not spec:gsub(" %-%-%- .*$", ""):find "}%s*,?%s*$"
      local rest = spec
      if opens then
        path[#path + 1] = name
        rest = (lines[i + 1] or "") .. (lines[i + 2] or "") .. " "
      end
      rows[#rows + 1] = { table.concat(full, "."), opens and rest:match 'kind = "(%l+)"' or value_of(spec, word.file),
        default_of(opens and rest:gsub("fields = .*", "") or spec), meaning }
    elseif line:find "^%s*},%s*$" then
      path[#path] = nil
    end
  end
  if #rows == 0 then problem("%s: %s is empty", word.file, variable) end
  return rows
end

-- ---- Methods -------------------------------------------------------------------------------------------------------

--- The methods of a series, from the table that is registered and the comments above the functions.
local function methods()
  local source, list = M.read "runtime/script/handle.c", {}
  for name, fn in source:match("luaL_Reg methods%[%].-};"):gmatch '{"([%w_]+)", ([%w_]+)}' do
    local before = source:match("^(.-)\nstatic int " .. fn .. "%(lua_State %*L%) {")
    local comment = before and before:match "/%*([^*]*)%*/$"
    if not comment then problem("runtime/script/handle.c: %s, the method %s, has no docstring", fn, name) end
    local text = comment:gsub("%s+", " "):gsub("%[%-.-%]%s*$", ""):match "^%s*(.-)%s*$"
    local example, meaning = text:match "^([sp]:[%w_]+%(.-%)): (.+)$"
    if not example or not example:find("^[sp]:" .. name .. "%(") then
      problem('runtime/script/handle.c: the docstring of %s is not "s:%s(...): what it is"', fn, name)
    end
    list[#list + 1] = { name = name, example = example, meaning = (meaning:gsub("([^%.])$", "%1.")) }
  end
  return list
end

-- ---- The page ------------------------------------------------------------------------------------------------------

local function cell(text) return (text:gsub("|", "\\|")) end

local function metric_names()
  local names = {}
  for name in M.read("lua/si/metric.lua"):match("metric%.names = {(.-)\n}"):gmatch '"([^"]+)"' do names[#names + 1] = "`" .. name .. "`" end
  table.sort(names)
  return table.concat(names, ", ")
end

function M.page()
  local out = {}
  local function put(...) out[#out + 1] = string.format(...) end
  put "# Reference of the rule language"
  put ""
  put "Made from the docstrings beside the functions by `lua5.4 docs/rules-reference.lua`; not edited by hand. [rules.md](rules.md) explains,"
  put "[cookbook.md](cookbook.md) has rules to copy."
  put ""
  put "## Words"
  for _, word in ipairs(words()) do
    local example, meaning = docstring(word)
    put("\n### %s\n\n```lua\n%s\n```\n\n%s", word.name, example, meaning)
    local rows = fields_of(word)
    if #rows > 0 then put "\n| field | value | default | meaning |\n| --- | --- | --- | --- |" end
    for _, r in ipairs(rows) do put("| `%s` | %s | %s | %s |", r[1], cell(r[2]), cell(r[3]), cell(r[4])) end
  end
  put "\n## Methods of a series\n\nA window is a duration in quotes that ends now.\n\n| method | meaning |\n| --- | --- |"
  for _, m in ipairs(methods()) do put("| `%s` | %s |", cell(m.example), cell(m.meaning)) end
  put("\n## Metrics that si measures\n\n%s.", metric_names())
  return table.concat(out, "\n") .. "\n"
end

if arg and arg[0] and arg[0]:find "rules%-reference%.lua$" then
  local ok, page = pcall(M.page)
  if not ok then
    io.stderr:write(page, "\n")
    os.exit(1)
  end
  io.write(page)
end

return M
