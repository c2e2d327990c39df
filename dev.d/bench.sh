# Benchmarks. Each prints Markdown for docs/benchmarks.md; numbers are written there by hand, with date and machine.
# shellcheck shell=bash

BENCH_BUILD=build/release

command_bench() {
    local name=${1-}
    if [[ -z $name ]]; then
        bench_list
        return
    fi
    shift
    need build bench web
    # Configured before gperftools was installed: look for it again.
    ! grep -qs 'GPERFTOOLS_PROFILER.*NOTFOUND' "$BENCH_BUILD/CMakeCache.txt" || rm -f -- "$BENCH_BUILD/preset"
    machine
    case $name in
        cpu)
            build_preset release cpu_bench
            step "Sampling the same work with and without (about two minutes)"
            "$BENCH_BUILD/bench/cpu_bench" "$@"
            ;;
        report) bench_report "$@" ;;
        web) bench_web "$@" ;;
        overhead)
            need overhead
            # shellcheck source=/dev/null
            source bench/overhead.sh
            bench_overhead "$@"
            ;;
        accuracy)
            build_preset release accuracy_bench si si_probe
            step "Programs whose truth is known (about two minutes)"
            "$BENCH_BUILD/bench/accuracy_bench" "$@"
            ;;
        *)
            [[ -f bench/${name}_bench.c ]] || die "there is no benchmark $name; ./dev bench lists them"
            build_preset release "${name}_bench"
            step "Running ${name}_bench"
            "$BENCH_BUILD/bench/${name}_bench" "$@"
            ;;
    esac
}

bench_list() {
    local source
    echo "web      first load of the page in Chromium, frame rate of a flame graph of 100,000 nodes"
    echo "report   bytes on the wire, the agent's CPU and memory, in the shop under load"
    echo "overhead everything on at the default cadence: the shop, redis and nginx with and without; the agent's CPU and memory"
    for source in bench/*_bench.c; do
        [[ $source != */overhead_bench.c ]] || continue
        # The first line of the opening comment that says something.
        printf '%-8s %s\n' "$(basename -- "$source" _bench.c)" "$(sed -n '/^ \* [A-Z]/{s/^ \* //p;q}' "$source")"
    done
}

machine() {
    printf 'Machine: %s, %s cores, Linux %s, %s\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" \
        "$(uname -r)" "$(date -u +%Y-%m-%d)"
}

# bench_web [LOADS]: the page as Debian's Chromium sees it.
bench_web() {
    need test web
    WITH_TESTS=1 build_preset release si-dashboard made_reports
    step "Loading pages and zooming"
    SI_BIN_DIR=$ROOT/$BENCH_BUILD/bin SI_SPEC_DIR=$ROOT/$BENCH_BUILD/spec node bench/web_bench.mjs "$@"
}

# bench_report [SECONDS [ROUNDS]]: the shop under the demo's load, observed and not, in turns; the reports go to bench/report_sink.c.
bench_report() {
    local seconds=${1:-150} rounds=${2:-2} round folder
    [[ $seconds =~ ^[0-9]+$ && $rounds =~ ^[1-9][0-9]*$ ]] || die "usage: ./dev bench report [SECONDS [ROUNDS]]"
    build_preset release shop report_sink
    folder=$(mktemp -d "${TMPDIR:-/tmp}/si-bench.XXXXXX")
    DEMO_DATA=$folder
    # Expanded now: the function's variables are gone when the trap runs.
    # shellcheck disable=SC2064
    trap "demo_stop load shop inventory sink; rm -rf -- '$folder'" EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP

    demo_run inventory "$BENCH_BUILD/examples/shop" --inventory --port 0 --unobserved
    demo_until inventory "the inventory answers" grep -q listening "$folder/inventory.log"
    demo_run sink "$BENCH_BUILD/bench/report_sink"
    demo_until sink "the sink answers" grep -q listening "$folder/sink.log"
    for ((round = 1; round <= rounds; round++)); do
        bench_round "$seconds" unobserved --unobserved
        bench_round "$seconds" observed
    done
    demo_stop sink
    bench_report_result "$seconds" "$rounds"
}

# bench_round SECONDS LABEL [OPTION]: appends what the shop used to LABEL.used.
bench_round() {
    local seconds=$1 label=$2 shop pid
    shift 2
    step "The shop for $seconds s, $label"
    rm -rf -- "$DEMO_DATA/state"
    SI_DASHBOARD_URL=$(listening sink) SI_AGENT_KEY=si_bench_0 SI_APP_ENVIRONMENT=bench SI_STATE_DIR=$DEMO_DATA/state \
        demo_run shop "$BENCH_BUILD/examples/shop" --port 0 --database "$DEMO_DATA/shop.db" --inventory-url "$(listening inventory)" "$@"
    demo_until shop "the shop answers" grep -q listening "$DEMO_DATA/shop.log"
    shop=$(listening shop)
    demo_run load wrk -t1 -c4 -d 1000h -s examples/shop/load.lua "$shop"
    sleep "$seconds" &
    wait $!
    pid=${DEMO_PIDS[shop]}
    demo_lives shop
    printf '%s %s\n' "$(memory_of "$pid")" "$(cpu_of "$pid")" >>"$DEMO_DATA/$label.used"
    demo_stop load shop
}

listening() { sed -n 's/^listening on //p' "$DEMO_DATA/$1.log"; }

# "RSS PSS PRIVATE" in KiB. The receipts that the shop leaks are part of both runs alike.
memory_of() { awk '/^Rss:/ { r = $2 } /^Pss:/ { p = $2 } /^Private_/ { q += $2 } END { print r, p, q }' "/proc/$1/smaps_rollup"; }

# "AGENT ALL" in clock ticks: the agent's two threads, and all threads.
cpu_of() {
    cat "/proc/$1"/task/*/stat | sed 's/^[0-9]* (\(.*\)) /\1|/' |
        awk -F'|' '{ split($2, f, " "); used = f[12] + f[13]; all += used; if ($1 ~ /^si-(loop|worker)/) agent += used }
            END { print agent + 0, all }'
}

bench_report_result() {
    local seconds=$1 rounds=$2 ticks
    ticks=$(getconf CLK_TCK)
    awk -v seconds="$seconds" -v rounds="$rounds" -v ticks="$ticks" '
        FNR == 1 { file++ }
        file == 1 { split($0, pair, "="); got[pair[1]] = pair[2]; next }
        { for (i = 1; i <= 5; i++) used[file, i] += $i / rounds }
        END {
            if (got["reports"] + 0 == 0 || got["samples"] + 0 == 0 || got["malformed"] > 0) {
                print "INVALID: reports=" got["reports"] " samples=" got["samples"] " malformed=" got["malformed"]
                exit 1
            }
            minutes = seconds * rounds / 60
            printf "\n| the shop under load, %d x %d s | |\n| --- | --- |\n", rounds, seconds
            printf "| reports, profiles, samples | %d, %d, %d |\n", got["reports"], got["profiles"], got["samples"]
            printf "| segments, errors, points | %d, %d, %d |\n", got["segments"], got["errors"], got["points"]
            printf "| bytes on the wire a minute | %d (bodies %d) |\n", (got["body_bytes"] + got["header_bytes"]) / minutes, got["body_bytes"] / minutes
            printf "| bytes a report, packed and unpacked | %d, %d |\n", got["body_bytes"] / got["reports"], got["unpacked_bytes"] / got["reports"]
            printf "| bytes a profile (profiles alone, packed) | %d, with %d call-tree nodes |\n", got["profile_bytes"] / got["profiles"], got["nodes"] / got["profiles"]
            printf "| CPU of the agent (si-loop, si-worker) | %.3f %% of a core |\n", used[3, 4] / ticks / seconds * 100
            printf "| CPU of the whole process, unobserved and observed | %.2f %%, %.2f %% of a core |\n", used[2, 5] / ticks / seconds * 100, used[3, 5] / ticks / seconds * 100
            printf "| RSS, unobserved and observed | %.1f, %.1f MiB: %+.1f |\n", used[2, 1] / 1024, used[3, 1] / 1024, (used[3, 1] - used[2, 1]) / 1024
            printf "| private memory, unobserved and observed | %.1f, %.1f MiB: %+.1f |\n", used[2, 3] / 1024, used[3, 3] / 1024, (used[3, 3] - used[2, 3]) / 1024
        }' <(grep '=' "$DEMO_DATA/sink.log") "$DEMO_DATA/unobserved.used" "$DEMO_DATA/observed.used"
}
