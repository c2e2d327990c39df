#!/bin/sh
# with_sink.sh BINARY_DIR PROGRAM [ARGUMENT...]: runs a Lua program whose reports go to bench/report_sink.c; prints what arrived.
set -eu
binary=$1
shift
out=$(mktemp)
"$binary/bench/report_sink" >"$out" &
sink=$!
trap 'kill "$sink" 2>/dev/null || true; rm -f "$out"' EXIT
tries=0
until grep -q listening "$out"; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] && kill -0 "$sink"
    sleep 0.1
done
SI_DASHBOARD_URL=$(sed -n 's/^listening on //p' "$out")
export SI_DASHBOARD_URL SI_AGENT_KEY=si_test_0 LUA_CPATH="$binary/lib/lua/5.4/?.so"
lua5.4 "$@" >&2
kill -TERM "$sink"
wait "$sink"
grep '=' "$out"
