# What a person sees while a command runs: steps with elapsed time, long output kept in a log, errors that say what to do.
# shellcheck shell=bash

step() { printf '==> [%3d s] %s\n' "$SECONDS" "$*"; }
note() { printf '    %s\n' "$*"; }
die() {
    printf 'dev: %s\n' "$*" >&2
    exit 1
}

# logged LABEL LOG COMMAND...: runs the command in the foreground (so that Ctrl-C reaches it) with its output in LOG; shows that
# it is alive every ten seconds, and the end of the log when it fails.
logged() {
    local label=$1 log=$2 status=0
    shift 2
    step "$label"
    mkdir -p -- "$(dirname -- "$log")"
    "$@" 2>&1 </dev/null | keep_log "$log" || status=$?
    ((status == 0)) && return 0
    printf 'dev: %s failed (status %d). The end of %s:\n' "$label" "$status" "$log" >&2
    tail -n 40 -- "$log" >&2
    return "$status"
}

keep_log() {
    local log=$1 line='' last='' status next=$((SECONDS + 10))
    : >"$log"
    while :; do
        status=0
        IFS= read -r -t 5 line || status=$?
        if [[ -n $line ]]; then
            printf '%s\n' "$line" >>"$log"
            last=$line
        fi
        if ((status > 0 && status <= 128)); then break; fi
        if ((SECONDS >= next)); then
            printf '    [%3d s] %.100s\n' "$SECONDS" "$last"
            next=$((SECONDS + 10))
        fi
    done
}
