-- luacheck: rule files see the language and the sandbox's allow-list, specs see busted.
std = "lua54"
max_line_length = 150

local words = {
  "cadence", "rule", "metric", "metrics", "profiles", "callsites", "segments", "errors", "profile", "segment", "route", "inhibit", "slo",
}
local allowed = {
  "assert", "error", "ipairs", "math", "next", "pairs", "pcall", "print", "rawequal", "rawlen", "select", "setmetatable", "string",
  "table", "tonumber", "tostring", "type", "utf8",
}
for _, name in ipairs(allowed) do words[#words + 1] = name end

files["rules"] = { std = "none", read_globals = words }
files["**/rules/*.lua"] = { std = "none", read_globals = words, ignore = { "212" } } -- an argument that a rule does not need
files["lua/si"] = { read_globals = { "require" } }
files["spec/lua"] = { std = "lua54+busted", max_line_length = 200, read_globals = { assert = { other_fields = true } } }
files["examples/shop/load.lua"] = { globals = { "wrk", "delay", "request", "response", "setup", "init", "done" } } -- wrk's script
files["bench/*.lua"] = files["examples/shop/load.lua"]

exclude_files = { "build/*", "dashboard/web/node_modules/*", ".demo/*" }
