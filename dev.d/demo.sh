# A dashboard, a service with its second service, both observed, and customers: everything on 127.0.0.1, everything ended with us.
# shellcheck shell=bash

DEMO_DATA=.demo
DEMO_BIN=build/release
declare -A DEMO_PIDS=()

command_demo() {
    local seconds=0 port=8686 keep=0
    while (($#)); do
        case $1 in
            --for) seconds=${2-}; shift ;;
            --port) port=${2-}; shift ;;
            --keep) keep=1 ;; # go on with the data of the last demo
            *) die "demo: unknown option $1" ;;
        esac
        shift || die "demo: an option lacks its value"
    done
    [[ $seconds =~ ^[0-9]{1,7}$ && $port =~ ^[0-9]{1,5}$ ]] || die "demo: --for and --port take a number"
    need build web demo
    build_preset release si-dashboard shop
    ((keep)) || rm -rf -- "$DEMO_DATA"
    mkdir -p -- "$DEMO_DATA"
    chmod 0700 -- "$DEMO_DATA"
    port=$(free_port "$port")
    trap demo_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    demo_start "http://127.0.0.1:$port" "$port"
    demo_wait "$seconds"
    ((seconds == 0)) || demo_result
}

# The port, or the next one up that nobody listens on.
free_port() {
    local port=$1 wanted=$1
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        port=$((port + 1))
        ((port <= 65535 && port < wanted + 100)) || die "no free port between $wanted and $port"
    done
    ((port == wanted)) || note "port $wanted is taken: using $port" >&2
    echo "$port"
}

# demo_run NAME COMMAND...: in the background, with its output in .demo/NAME.log. The environment of the agents is set by the caller.
demo_run() {
    local name=$1
    shift
    : >"$DEMO_DATA/$name.log" # before it starts: what the last demo said there must not be taken for its words
    "$@" >>"$DEMO_DATA/$name.log" 2>&1 </dev/null &
    DEMO_PIDS[$name]=$!
}

demo_start() {
    local url=$1 port=$2 link inventory shop key
    step "Starting the dashboard"
    demo_run dashboard "$DEMO_BIN/bin/si-dashboard" --listen "127.0.0.1:$port" --data "$DEMO_DATA"
    demo_until dashboard "the dashboard answers" curl -fs -o /dev/null --max-time 2 "$url/api/v1/session"

    step "Starting the shop, its inventory, and customers"
    # By the environment: a key must not show in a command line.
    key=$(demo_key shop-inventory)
    SI_AGENT_KEY=$key demo_service inventory "$url" --inventory --port 0
    demo_until inventory "the inventory answers" grep -q listening "$DEMO_DATA/inventory.log"
    inventory=$(sed -n 's/^listening on //p' "$DEMO_DATA/inventory.log")
    key=$(demo_key shop)
    SI_AGENT_KEY=$key demo_service shop "$url" --port 0 --database "$DEMO_DATA/shop.db" --inventory-url "$inventory"
    demo_until shop "the shop answers" grep -q listening "$DEMO_DATA/shop.log"
    shop=$(sed -n 's/^listening on //p' "$DEMO_DATA/shop.log")
    demo_run load wrk -t1 -c4 -d 1000h -s examples/shop/load.lua "$shop"

    link=$("$DEMO_BIN/bin/si-dashboard" sign-in-link --data "$DEMO_DATA" | grep -o '/sign-in?token=[A-Za-z0-9_-]*') ||
        die "the dashboard gave no sign-in link"
    DEMO_STARTED=$SECONDS
    cat <<EOM

    Dashboard   $url
    Sign in     $url$link
    Shop        $shop      (observed; logs in $DEMO_DATA/)

    What is wrong with the shop: examples/shop/README.md. First data shows after about ten seconds.
EOM
}

demo_key() {
    "$DEMO_BIN/bin/si-dashboard" key --data "$DEMO_DATA" --app "$1" --env demo | grep -o 'si_[A-Za-z0-9_-]*' ||
        die "the dashboard gave no agent key for $1"
}

# demo_service NAME URL ARGUMENT...
demo_service() {
    local name=$1 url=$2
    shift 2
    SI_DASHBOARD_URL=$url SI_APP_ENVIRONMENT=demo SI_RULES_DIR=examples/shop/rules SI_STATE_DIR=$DEMO_DATA/$name.state \
        demo_run "$name" "$DEMO_BIN/examples/shop" "$@"
}

# demo_until NAME WHAT COMMAND...: waits until the command succeeds; NAME is the process that must live meanwhile.
demo_until() {
    local name=$1 what=$2 deadline=$((SECONDS + 30))
    shift 2
    until "$@"; do
        demo_lives "$name"
        ((SECONDS < deadline)) || { demo_log "$name" && die "waited 30 s in vain until $what"; }
        sleep 0.1
    done
}

demo_lives() {
    kill -0 "${DEMO_PIDS[$1]}" 2>/dev/null && return
    demo_log "$1"
    die "$1 has ended by itself"
}

demo_log() {
    printf 'dev: the end of %s:\n' "$DEMO_DATA/$1.log" >&2
    tail -n 20 -- "$DEMO_DATA/$1.log" >&2
}

demo_wait() {
    local seconds=$1 name said=$SECONDS
    if ((seconds)); then note "Ends by itself after $seconds s."; else note "Ends with Ctrl-C."; fi
    while ((seconds == 0 || SECONDS - DEMO_STARTED < seconds)); do
        sleep 1 & # not in the foreground: a signal is handled at once
        wait $! || true
        for name in "${!DEMO_PIDS[@]}"; do demo_lives "$name"; done
        if ((seconds && SECONDS - said >= 10)); then
            said=$SECONDS
            step "So far: $(demo_counts | tr '\n' ' ')"
        fi
    done
}

# What the dashboard has stored of the shop: one "NUMBER KIND" a line.
demo_counts() {
    sqlite3 -readonly -separator ' ' -cmd '.timeout 5000' "$DEMO_DATA/si.db" "
        CREATE TEMP TABLE shop AS SELECT id FROM app WHERE name = 'shop' AND environment = 'demo';
        SELECT count(*), 'reports,' FROM ledger WHERE app IN shop;
        SELECT count(*), 'profiles,' FROM profile WHERE app IN shop;
        SELECT coalesce(sum(count), 0), 'segments,' FROM segment WHERE app IN shop AND resolution_ms = 0;
        SELECT coalesce(sum(count), 0), 'errors,' FROM error WHERE app IN shop;
        SELECT count(*), 'alerts' FROM alert WHERE app IN shop AND fired_ms > 0;"
}

demo_result() {
    local counts number kind kinds=0 missing=()
    step "Stopping the load and the shop, which sends what it still has"
    demo_stop load shop inventory
    counts=$(demo_counts) || die "cannot read $DEMO_DATA/si.db"
    step "Arrived at the dashboard"
    while read -r number kind; do
        printf '    %8d %s\n' "$number" "${kind%,}"
        kinds=$((kinds + 1))
        ((number > 0)) || missing+=("${kind%,}")
    done <<<"$counts"
    ((${#missing[@]} == 0)) || die "nothing arrived of: ${missing[*]}"
    ((kinds == 5)) || die "the dashboard's store could not be read whole"
}

# demo_stop NAME...: asks politely, waits eight seconds for all together, then insists.
demo_stop() {
    local name pid deadline=$((SECONDS + 8))
    for name in "$@"; do
        pid=${DEMO_PIDS[$name]-}
        [[ -z $pid ]] || kill -TERM "$pid" 2>/dev/null || true
    done
    for name in "$@"; do
        pid=${DEMO_PIDS[$name]-}
        [[ -n $pid ]] || continue
        while kill -0 "$pid" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.1; done
        if kill -KILL "$pid" 2>/dev/null; then note "$name did not end in time"; fi
        wait "$pid" 2>/dev/null || true
        unset "DEMO_PIDS[$name]"
    done
}

# On every way out. The dashboard goes last: the shop's last report still finds it.
demo_end() {
    local status=$?
    trap '' INT TERM HUP
    ((${#DEMO_PIDS[@]} == 0)) || step "Ending the demo"
    demo_stop load shop inventory
    demo_stop dashboard
    exit "$status"
}
