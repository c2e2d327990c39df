# What everything on costs at the default cadence: `./dev bench overhead [--rounds N] [--churn SECONDS | --hour] [shop|redis|nginx|churn...]`.
# Of each service three instances run at once: one unobserved, one observed, and one more unobserved, which says what two alike differ by. They are
# loaded in turns of about a second, in changing order, so that what else the machine does hits all alike. Sourced by dev.d/bench.sh.
# shellcheck shell=bash

declare -A OVERHEAD_PIDS=() # of every instance: the processes whose CPU time is the service's (and the agent's, embedded)

bench_overhead() {
    local rounds=12 churn=60 parts=() part
    while (($#)); do
        case $1 in
            --rounds) rounds=${2-}; shift ;;
            --churn) churn=${2-}; shift ;;
            --hour) churn=3600 ;;
            shop | redis | nginx | churn) parts+=("$1") ;;
            *) die "usage: ./dev bench overhead [--rounds N] [--churn SECONDS | --hour] [shop|redis|nginx|churn...]" ;;
        esac
        shift || die "an option lacks its value"
    done
    [[ $rounds =~ ^[1-9][0-9]*$ && $churn =~ ^[0-9]+$ ]] || die "--rounds and --churn take a number"
    ((rounds >= 6)) || die "at least 6 rounds"
    ((${#parts[@]})) || parts=(shop redis nginx churn)
    build_preset release shop report_sink overhead_bench si si_probe
    OVERHEAD=$BENCH_BUILD/bench/overhead_bench
    DEMO_DATA=$(mktemp -d "${TMPDIR:-/tmp}/si-bench.XXXXXX")
    chmod 0755 -- "$DEMO_DATA" # nginx's worker may be somebody else
    # Expanded now: the function's variables are gone when the trap runs.
    # shellcheck disable=SC2064
    trap "overhead_end; rm -rf -- '$DEMO_DATA'" EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    demo_run sink "$BENCH_BUILD/bench/report_sink"
    demo_until sink "the sink answers" grep -q listening "$DEMO_DATA/sink.log"
    SI_DASHBOARD_URL=$(listening sink)
    export SI_DASHBOARD_URL SI_AGENT_KEY=si_bench_0 SI_APP_ENVIRONMENT=bench
    printf 'Load of the machine: %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
    for part in "${parts[@]}"; do
        if [[ $part == churn ]]; then
            step "A program that never rests, for $churn s"
            "$OVERHEAD" --churn "$churn"
        else
            step "$part: three instances in turns, $rounds rounds"
            "overhead_$part" "$rounds"
        fi
    done
    demo_stop sink
    note "Reports that arrived: $(grep '^reports=' "$DEMO_DATA/sink.log")"
    grep -q '^reports=[1-9]' "$DEMO_DATA/sink.log" || die "INVALID: nothing was reported"
    grep -q '^malformed=0' "$DEMO_DATA/sink.log" || die "INVALID: malformed reports"
}

overhead_end() { demo_stop load {shop,redis,nginx}_{plain,observed,alike} inventory sink; }

# Instances are called KIND_plain, KIND_observed, KIND_alike.
each_instance() { printf '%s\n' "$1_plain" "$1_observed" "$1_alike"; }

overhead_cpu() {
    # shellcheck disable=SC2086
    "$OVERHEAD" --cpu ${OVERHEAD_PIDS[$1]}
}

# overhead_rounds KIND ROUNDS: loads each instance once to warm up, then in turns. KIND_load INSTANCE prints "REQUESTS SECONDS P99_MS".
overhead_rounds() {
    local kind=$1 rounds=$2 round name before done_ seconds p99 after order
    : >"$DEMO_DATA/$kind.turns"
    for name in $(each_instance "$kind"); do "${kind}_load" "$name" >/dev/null; done
    for ((round = 0; round < rounds; round++)); do
        case $((round % 3)) in
            0) order="plain observed alike" ;;
            1) order="observed alike plain" ;;
            2) order="alike plain observed" ;;
        esac
        for name in $order; do
            before=$(overhead_cpu "${kind}_$name")
            read -r done_ seconds p99 < <("${kind}_load" "${kind}_$name") || die "INVALID: the load on ${kind}_$name failed"
            after=$(overhead_cpu "${kind}_$name")
            printf '%d %s %s %s %s %s\n' "$round" "$name" "$done_" "$seconds" "$p99" "$((after - before))" >>"$DEMO_DATA/$kind.turns"
        done
    done
    overhead_table "$kind" "$rounds"
}

# Medians of the rounds' differences, and their 95 % interval by order statistics.
overhead_table() {
    awk -v kind="$1" -v rounds="$2" '
        { rate[$2, $1] = $3 / $4; p99[$2, $1] = $5; cpu[$2, $1] = $6 / $3; all_cpu[$2] += $6; all[$2] += $3 }
        function sorted(n,   i, j, t) {
            for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
        }
        function median(n) { sorted(n); return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2 }
        function spread(n,   m, reach, low, high) {
            m = median(n); reach = 0.98 * sqrt(n)
            low = int(n / 2 - reach); high = n + 1 - low
            return sprintf("%+.2f %% [%+.2f, %+.2f]", m, v[low < 1 ? 1 : low], v[low < 1 ? n : high])
        }
        function of(name, what,   i) { for (i = 0; i < rounds; i++) v[i + 1] = what == "rate" ? rate[name, i] : what == "cpu" ? cpu[name, i] : p99[name, i]; return median(rounds) }
        function against(name, what,   i, a, b) {
            for (i = 0; i < rounds; i++) {
                a = what == "rate" ? rate[name, i] : what == "cpu" ? cpu[name, i] : p99[name, i]
                b = what == "rate" ? rate["plain", i] : what == "cpu" ? cpu["plain", i] : p99["plain", i]
                v[i + 1] = b > 0 ? (a / b - 1) * 100 : 0
            }
            return spread(rounds)
        }
        END {
            if (all["plain"] == 0 || all["observed"] == 0 || all["alike"] == 0) { print "INVALID: an instance served nothing"; exit 1 }
            printf "\n| %s, %d rounds | unobserved | observed, against it | two alike |\n| --- | --- | --- | --- |\n", kind, rounds
            printf "| requests a second | %.0f | %s | %s |\n", of("plain", "rate"), against("observed", "rate"), against("alike", "rate")
            printf "| CPU a request | %.2f us | %s | %s |\n", of("plain", "cpu") / 1000, against("observed", "cpu"), against("alike", "cpu")
            printf "| p99 | %.3f ms | %s | %s |\n", of("plain", "p99"), against("observed", "p99"), against("alike", "p99")
            printf "| CPU a request over all rounds | %.2f us | %+.2f %% | %+.2f %% |\n", all_cpu["plain"] / all["plain"] / 1000,
                (all_cpu["observed"] / all["observed"] / (all_cpu["plain"] / all["plain"]) - 1) * 100,
                (all_cpu["alike"] / all["alike"] / (all_cpu["plain"] / all["plain"]) - 1) * 100
        }' "$DEMO_DATA/$1.turns"
}

# The `si` process beside a server: CPU since it started, and memory.
overhead_sidecar() {
    local pid=${DEMO_PIDS[$1_observed]} seconds
    seconds=$(ps -o etimes= -p "$pid")
    awk -v cpu="$("$OVERHEAD" --cpu "$pid")" -v s="$seconds" '/^Rss:/ { rss = $2 } /^Private/ { own += $2 }
        END { printf "| the agent beside it (`si`) | %.2f %% of a core, %.1f MiB RSS, %.1f private | | |\n", cpu / s / 1e7, rss / 1024, own / 1024 }' \
        "/proc/$pid/smaps_rollup"
}

# wrk's own words are rounded: bench/overhead.lua prints "overhead REQUESTS SECONDS P99_MS".
overhead_wrk() {
    wrk -t1 "$@" | sed -n 's/^overhead //p'
}

# ---- The example shop, embedded ----

overhead_shop() {
    local name option
    demo_run inventory "$BENCH_BUILD/examples/shop" --inventory --port 0 --unobserved
    demo_until inventory "the inventory answers" grep -q listening "$DEMO_DATA/inventory.log"
    for name in $(each_instance shop); do
        option=--unobserved
        [[ $name != *_observed ]] || option=
        # shellcheck disable=SC2086
        SI_STATE_DIR=$DEMO_DATA/state demo_run "$name" "$BENCH_BUILD/examples/shop" --port 0 --database "$DEMO_DATA/$name.db" \
            --inventory-url "$(listening inventory)" $option
        demo_until "$name" "$name answers" grep -q listening "$DEMO_DATA/$name.log"
        OVERHEAD_PIDS[$name]=${DEMO_PIDS[$name]}
    done
    overhead_rounds shop "$1"
    demo_stop shop_plain shop_observed shop_alike inventory
}

shop_load() { overhead_wrk -c4 -d1s -s bench/overhead.lua "$(listening "$1")"; }

# ---- Debian's redis under `si run` ----

overhead_redis() {
    local name run
    for name in $(each_instance redis); do
        run=()
        [[ $name != *_observed ]] || run=("$BENCH_BUILD/bin/si" run --)
        demo_run "$name" "${run[@]}" redis-server --port 0 --unixsocket "$DEMO_DATA/$name.sock" --save "" --appendonly no --dir "$DEMO_DATA"
        demo_until "$name" "$name answers" overhead_redis_answers "$name"
        OVERHEAD_PIDS[$name]=$(redis-cli -s "$DEMO_DATA/$name.sock" info server | tr -d '\r' | sed -n 's/^process_id://p')
    done
    overhead_rounds redis "$1"
    overhead_sidecar redis
    demo_stop redis_plain redis_observed redis_alike
}

overhead_redis_answers() { redis-cli -s "$DEMO_DATA/$1.sock" ping >/dev/null 2>&1; }

# As many GETs as SETs. The p99 is the worse one's.
redis_load() {
    redis-benchmark -s "$DEMO_DATA/$1.sock" -t get,set -n 30000 -c 20 -r 10000 -d 100 --csv | tr -d '"' |
        awk -F, '$1 == "GET" || $1 == "SET" { n += 30000; s += 30000 / $2; if ($7 > p) p = $7 } END { print n + 0, s, p }'
}

# ---- Debian's nginx under `si run` ----

overhead_nginx() {
    local name run folder
    for name in $(each_instance nginx); do
        run=() folder=$DEMO_DATA/$name
        [[ $name != *_observed ]] || run=("$BENCH_BUILD/bin/si" run --)
        mkdir -m 0755 -- "$folder"
        head -c 4000 /dev/zero | tr '\0' 'x' >"$folder/page.html"
        cat >"$folder/nginx.conf" <<CONF
daemon off; worker_processes 1; pid $folder/pid; error_log $folder/error.log;
events { worker_connections 64; }
http { access_log $folder/access.log; sendfile on; keepalive_requests 100000000; root $folder;
    client_body_temp_path $folder/body; proxy_temp_path $folder/proxy; fastcgi_temp_path $folder/fastcgi; uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi; server { listen unix:$folder/sock; listen 127.0.0.1:$(overhead_port "$name"); } }
CONF
        demo_run "$name" "${run[@]}" nginx -p "$folder" -c "$folder/nginx.conf" -e "$folder/error.log"
        demo_until "$name" "$name answers" curl -fs -o /dev/null "http://127.0.0.1:$(overhead_port "$name")/page.html"
        OVERHEAD_PIDS[$name]=$(pgrep -P "$(cat "$folder/pid")" | tr '\n' ' ')
    done
    overhead_rounds nginx "$1"
    overhead_sidecar nginx
    demo_stop nginx_plain nginx_observed nginx_alike
}

# A free port for an instance: nginx cannot be asked which one it took.
overhead_port() {
    [[ -s $DEMO_DATA/$1.port ]] || free_port $((20000 + RANDOM % 20000)) >"$DEMO_DATA/$1.port"
    tail -n 1 "$DEMO_DATA/$1.port"
}

nginx_load() { overhead_wrk -c8 -d1s -s bench/overhead_page.lua "http://127.0.0.1:$(overhead_port "$1")"; }
