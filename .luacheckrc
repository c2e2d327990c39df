std = "lua54"
max_line_length = 140
include_files = { "lua", "rules", "examples", "spec", "bench", "dev.d" }
exclude_files = { "build", "dashboard/web/node_modules" }

-- The vocabulary of rule files: what the sandbox hands them. Nothing else is global there.
local rule_words = {
  "cadence", "rule", "metric", "profiles", "profile", "segment", "segments", "errors", "callsites", "slo", "route", "inhibit",
  "now", "log",
}
files["rules"] = { read_globals = rule_words }
files["examples/shop/rules"] = { read_globals = rule_words }
files["spec"] = { std = "lua54+busted" }
files["examples/shop/load.lua"] = { globals = { "delay", "request" }, read_globals = { "wrk" } }
