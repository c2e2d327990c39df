std = "lua54"
max_line_length = 150
ignore = { "212" } -- an unused argument says what a callback is given
include_files = { "**/*.lua" }
exclude_files = { "build", "dashboard/web/node_modules" }

-- The vocabulary of rule files: what the sandbox hands them. Nothing else is global there.
local rule_words = {
  "cadence", "rule", "metric", "profiles", "profile", "segment", "segments", "errors", "callsites", "slo", "route", "inhibit",
  "now", "log",
}
files["rules"] = { read_globals = rule_words }
files["bench/rules"] = { read_globals = rule_words }
files["examples/shop/rules"] = { read_globals = rule_words }
files["spec"] = { std = "lua54+busted" }
files["examples/shop/load.lua"] = { globals = { "delay", "request" }, read_globals = { "wrk" } }
