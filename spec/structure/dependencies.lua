-- The project's structure, checked: run by ./dev lint, from the root of the checkout.
--   lua5.4 spec/structure/dependencies.lua                the checkout itself
--   lua5.4 spec/structure/dependencies.lua --self-test    small made-up trees: does every rule catch its violation?
--
-- 1. collectors/ never includes runtime/, directly or through another header.
-- 2. runtime/ never names a collector: neither its header nor a function or variable of its own file.
-- 3. Only runtime/script/, collectors/lua_*.c and lua/si_module.c (the Lua module itself) include Lua's headers.
-- 4. No source file has more than 600 lines (a test: a warning); nothing generated or built is committed.
-- Sentence 3 leaves out examples/ and spec/: host programs, and tests that stand in for one, may have a Lua of their own.

local MAX_LINES = 600
local LUA_HEADERS = { ["lua.h"] = true, ["lauxlib.h"] = true, ["lualib.h"] = true, ["lua.hpp"] = true }

-- Drops "a/../" and "./" from a relative path.
local function normalized(path)
  local parts = {}
  for part in path:gmatch("[^/]+") do
    if part == ".." and #parts > 0 then parts[#parts] = nil
    elseif part ~= "." then parts[#parts + 1] = part end
  end
  return table.concat(parts, "/")
end

-- Comments and string literals would name what the code does not use.
local function without_comments(text)
  text = text:gsub("/%*.-%*/", function(comment) return (comment:gsub("[^\n]", "")) end)
  return (text:gsub("//[^\n]*", ""))
end

-- Every included file of one source: {line, name, path in the tree or nil}.
local function includes_of(path, text, tree)
  local found, line_number = {}, 0
  local folder = path:match("^(.*)/") or "."
  for line in (without_comments(text) .. "\n"):gmatch("(.-)\n") do
    line_number = line_number + 1
    local name = line:match('^%s*#%s*include%s*[<"]([^>"]+)[>"]')
    if name then
      local resolved
      for _, candidate in ipairs { folder .. "/" .. name, name, "include/" .. name } do
        candidate = normalized(candidate)
        if tree[candidate] then resolved = candidate break end
      end
      found[#found + 1] = { line = line_number, name = name, path = resolved }
    end
  end
  return found
end

local function is_source(path) return path:match("%.[ch]$") or path:match("%.cc$") or path:match("%.cpp$") or path:match("%.hpp$") end

-- Calls visit(include, chain) for every include that a file reaches; chain: how, as text.
local function each_reachable(path, graph, visit)
  local seen = { [path] = true }
  local function walk(file, chain)
    for _, include in ipairs(graph[file] or {}) do
      visit(include, chain .. " -> " .. include.name)
      if include.path and not seen[include.path] then
        seen[include.path] = true
        walk(include.path, chain .. " -> " .. include.path)
      end
    end
  end
  walk(path, path)
end

-- The identifiers that belong to collectors/NAME.c: what it defines for others.
local function collector_names(tree)
  local names = {}
  for path, text in pairs(tree) do
    local noun = path:match("^collectors/([%w_]+)%.[ch]$")
    if noun and noun ~= "collector" and noun ~= "registry" then
      names["si__" .. noun .. "_collector"] = path
      names["si__collector_" .. noun] = path
      for symbol in without_comments(text):gmatch("\nconst%s+si__collector%s+([%w_]+)") do names[symbol] = path end
    end
  end
  return names
end

local function check_dependencies(tree, problems)
  local graph = {}
  for path, text in pairs(tree) do
    if is_source(path) then graph[path] = includes_of(path, text, tree) end
  end
  local function complain(path, what) problems[#problems + 1] = path .. ": " .. what end
  local collectors = collector_names(tree)
  for path in pairs(graph) do
    local folder = path:match("^([%w_]+)/")
    local may_use_lua = path:match("^runtime/script/") or path:match("^collectors/lua_[%w_]+%.[ch]$") or path == "lua/si_module.c"
      or folder == "spec" or folder == "examples"
    each_reachable(path, graph, function(include, chain)
      local target = include.path or include.name
      if folder == "collectors" and (target:match("^runtime/") or include.name:match("runtime/")) then
        complain(path, "collectors/ must not include runtime/: " .. chain)
      end
      if folder == "runtime" and target:match("^collectors/[%w_]+%.h$") and target ~= "collectors/collector.h" then
        complain(path, "runtime/ must not name a collector: " .. chain)
      end
      if LUA_HEADERS[include.name:match("[^/]*$")] and not may_use_lua then
        complain(path, "only runtime/script/, collectors/lua_*.c and lua/si_module.c include Lua: " .. chain)
      end
    end)
    if folder == "runtime" then
      for word in without_comments(tree[path]):gmatch("[%a_][%w_]*") do
        if collectors[word] then complain(path, "runtime/ must not name a collector: " .. word .. " of " .. collectors[word]) end
      end
    end
  end
end

local function check_files(tree, problems, warnings)
  for path, text in pairs(tree) do
    local lines = select(2, text:gsub("\n", "\n"))
    if (is_source(path) or path:match("%.lua$") or path:match("%.tsx?$") or path:match("%.sh$")) and lines > MAX_LINES then
      -- A long test is only mentioned.
      local list = path:match("^spec/") and warnings or problems
      list[#list + 1] = ("%s: %d lines; a file has at most %d"):format(path, lines, MAX_LINES)
    end
    local generated = path:match("%.o$") or path:match("%.a$") or path:match("%.so$") or path:match("%.gcda$")
      or path:match("^build/") or path:match("/dist/") or path:match("node_modules/") or path:match("%.db$") or path:match("%.min%.js$")
    if generated then problems[#problems + 1] = path .. ": generated or built files are not committed" end
  end
end

local function check(tree)
  local problems, warnings = {}, {}
  check_dependencies(tree, problems)
  check_files(tree, problems, warnings)
  table.sort(problems)
  table.sort(warnings)
  return problems, warnings
end

-- ---- The checkout itself ----

local function lines_of(command)
  local pipe, lines = assert(io.popen(command)), {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  pipe:close()
  return lines
end

local function read_checkout()
  local tree = {}
  for _, path in ipairs(lines_of("git ls-files --cached --others --exclude-standard")) do
    local file = io.open(path, "rb")
    if file then
      tree[path] = file:read("a") or ""
      file:close()
    end
  end
  return tree
end

-- ---- Self-test ----

local LONG = ("int x;\n"):rep(MAX_LINES + 1)
local CASES = {
  { "clean tree", 0, { ["collectors/collector.h"] = "",
      ["collectors/cpu.c"] = '#include "collector.h"\nconst si__collector si__cpu = {0};\n',
      ["runtime/a.c"] = '#include "../collectors/collector.h"\n/* si__cpu */\n', ["runtime/script/b.c"] = "#include <lua.h>\n",
      ["collectors/lua_vm.c"] = "#include <lua.h>\n", ["lua/si_module.c"] = "#include <lauxlib.h>\n",
      ["spec/c/x_test.c"] = "#include <lua.h>\n", ["examples/shop/letters.c"] = "#include <lua.h>\n" } },
  { "collector includes runtime", 1, { ["collectors/cpu.c"] = '#include "../runtime/worker.h"\n', ["runtime/worker.h"] = "" } },
  { "collector includes runtime through a header", 1,
    { ["collectors/cpu.c"] = '#include "native/n.h"\n', ["include/n2.h"] = '#include "../runtime/w.h"\n',
      ["collectors/native/n.h"] = "#include <n2.h>\n", ["runtime/w.h"] = "" }, "collectors/cpu.c" },
  { "collector includes runtime by a path that is not there", 1, { ["collectors/cpu.c"] = "#include <si/runtime/x.h>\n" } },
  { "runtime includes a collector", 1, { ["runtime/a.c"] = '#include "../collectors/heap.h"\n', ["collectors/heap.h"] = "" } },
  { "runtime names a collector", 1,
    { ["runtime/a.c"] = "x = &si__heap;\n", ["collectors/heap.c"] = "\nconst si__collector si__heap = {0};\n" } },
  { "the agent includes Lua", 1, { ["runtime/a.c"] = "#include <lua5.4/lua.h>\n" } },
  { "a spaced include of Lua", 1, { ["sidecar/a.c"] = '  #  include "lauxlib.h"\n' } },
  { "another reaches Lua through a header of script", 1,
    { ["runtime/report/a.c"] = '#include "../script/s.h"\n', ["runtime/script/s.h"] = "#include <lua.h>\n" } },
  { "a comment is no include", 0, { ["runtime/a.c"] = "/*\n#include <lua.h>\n*/\n// #include <lua.h>\n" } },
  { "a long file", 1, { ["runtime/a.c"] = LONG } },
  { "a long test is a warning", 0, { ["spec/c/a_test.c"] = LONG } },
  { "a built file", 1, { ["lib/libx.a"] = "!<arch>\n" } },
}

local function self_test()
  for _, case in ipairs(CASES) do
    local problems = check(case[3])
    if case[4] then -- count the problems of one file only
      local kept = {}
      for _, problem in ipairs(problems) do
        if problem:sub(1, #case[4]) == case[4] then kept[#kept + 1] = problem end
      end
      problems = kept
    end
    if #problems ~= case[2] then
      io.stderr:write(("self-test: %s: %d problems instead of %d\n"):format(case[1], #problems, case[2]))
      for _, problem in ipairs(problems) do io.stderr:write("  ", problem, "\n") end
      return 1
    end
  end
  print(("    self-test: %d trees judged rightly"):format(#CASES))
  return 0
end

if arg[1] == "--self-test" then os.exit(self_test()) end
local tree = read_checkout()
if not next(tree) then
  io.stderr:write("dependencies: no files found; run me from the root of the checkout\n")
  os.exit(1)
end
local problems, warnings = check(tree)
for _, warning in ipairs(warnings) do io.stderr:write("    warning: ", warning, "\n") end
for _, problem in ipairs(problems) do io.stderr:write(problem, "\n") end
os.exit(#problems == 0 and 0 or 1)
