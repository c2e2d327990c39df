#!/usr/bin/env bash
# What collectd's Lua plugin and Prometheus take for the same series and thresholds: Debian's packages, unpacked into a temporary
# folder, run for a few seconds on 127.0.0.1. Called by rules_bench with its own path; prints CPU time per 10,000 evaluations.
set -euo pipefail
bench=$(readlink -f -- "$1")
here=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd -P)
work=$(mktemp -d "${TMPDIR:-/tmp}/si-rules-bench.XXXXXX")
pid=
finish() {
    [[ -z $pid ]] || { kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }
    rm -rf -- "$work"
}
trap finish EXIT

unpack() {
    (cd -- "$work" && apt-get download "$@" >/dev/null 2>&1) || return 1
    local deb
    for deb in "$work"/*.deb; do dpkg -x "$deb" "$work/root" && rm -f -- "$deb"; done
}

cpu_ms() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) * 1000 / hz }' "/proc/$1/stat"; }
rss_kb() { awk '/^VmRSS/ { print $2 }' "/proc/$1/status"; }

compare_collectd() {
    unpack collectd-core liblua5.3-0 || { echo "collectd: its packages cannot be had here"; return; }
    cat >"$work/collectd.conf" <<CONF
BaseDir "$work"
PIDFile "$work/collectd.pid"
PluginDir "$work/root/usr/lib/collectd"
TypesDB "$work/root/usr/share/collectd/types.db"
Interval 1
<LoadPlugin lua>
  Globals true
</LoadPlugin>
<Plugin lua>
  BasePath "$here"
  Script "collectd.lua"
</Plugin>
CONF
    LD_LIBRARY_PATH="$work/root/usr/lib/x86_64-linux-gnu" "$work/root/usr/sbin/collectd" -f -C "$work/collectd.conf" >"$work/log" 2>&1 &
    pid=$!
    local deadline=$((SECONDS + 60)) from=0 to=0 before after
    until grep -q "bench: 2" "$work/log" || ((SECONDS > deadline)) || ! kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
    kill -0 "$pid" 2>/dev/null || { echo "collectd: $(tail -n 1 "$work/log")"; pid=; return; }
    from=$(grep -c "bench:" "$work/log" || true)
    before=$(cpu_ms "$pid")
    sleep 12
    to=$(grep -c "bench:" "$work/log" || true)
    after=$(cpu_ms "$pid")
    awk -v ms="$(echo "$after $before" | awk '{ print $1 - $2 }')" -v calls=$((to - from)) -v kb="$(rss_kb "$pid")" 'BEGIN {
        if (calls < 1) print "collectd: no call was counted"
        else printf "collectd 5.12, Lua plugin: %.0f ms CPU per 10,000 evaluations (%d counted), %.0f MB resident\n", ms * 10 / calls, calls * 1000, kb / 1000 }'
    kill "$pid"; wait "$pid" 2>/dev/null || true
    pid=
}

compare_prometheus() {
    unpack prometheus || { echo "prometheus: its package cannot be had here"; return; }
    local bin=$work/root/usr/bin port
    "$bench" --series "$work/series"
    "$bin/promtool" tsdb create-blocks-from openmetrics "$work/series" "$work/data" >"$work/log" 2>&1 || { echo "prometheus: $(tail -n 1 "$work/log")"; return; }
    rm -f -- "$work/series"
    cat >"$work/rules.yml" <<'RULES'
groups:
  - name: bench
    interval: 2s
    rules:
      - alert: threshold
        expr: avg_over_time(bench{kind="load"}[5m]) > 0.85
        for: 5m
      - alert: baseline
        expr: quantile_over_time(0.5, bench{kind="latency"}[3m]) > 1.5 * quantile_over_time(0.5, bench{kind="latency"}[24h]) and quantile_over_time(0.5, bench{kind="latency"}[3m]) > 1.1 * quantile_over_time(0.98, bench{kind="latency"}[24h])
        for: 5m
      - alert: callsite
        expr: deriv(bench{kind="heap"}[6h]) * 3600 > 0.05 * bench{kind="heap"}
        for: 30m
RULES
    printf 'rule_files: ["%s/rules.yml"]\n' "$work" >"$work/prometheus.yml"
    port=$((20000 + RANDOM % 20000))
    "$bin/prometheus" --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data" --storage.tsdb.retention.time=30d \
        --web.listen-address="127.0.0.1:$port" >"$work/log" 2>&1 &
    pid=$!
    local deadline=$((SECONDS + 60)) from to before after
    rounds() { curl -fs "http://127.0.0.1:$port/metrics" | awk '/^prometheus_rule_group_iterations_total/ { print $2 + 0 }'; }
    until [[ $(rounds 2>/dev/null || echo 0) -ge 2 ]] || ((SECONDS > deadline)); do sleep 0.3; done
    from=$(rounds) before=$(cpu_ms "$pid")
    sleep 20
    to=$(rounds) after=$(cpu_ms "$pid")
    awk -v ms="$(echo "$after $before" | awk '{ print $1 - $2 }')" -v n=$((to - from)) -v kb="$(rss_kb "$pid")" 'BEGIN {
        if (n < 1) print "prometheus: no evaluation was counted"
        else printf "Prometheus 2.42: %.0f ms CPU per 10,000 evaluations (%d counted), %.0f MB resident\n", ms * 10 / n, n * 1000, kb / 1000 }'
    kill "$pid"; wait "$pid" 2>/dev/null || true
    pid=
}

compare_collectd
compare_prometheus
