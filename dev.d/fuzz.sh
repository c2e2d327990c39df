# libFuzzer targets: spec/fuzz/NAME_fuzz.c, built by clang with AddressSanitizer and UBSan. What they find stays in build/fuzz/NAME/.
# shellcheck shell=bash

command_fuzz() {
    local target='' seconds=60
    if [[ ${1-} =~ ^[0-9]+$ ]]; then set -- "" "$1"; fi
    target=${1-}
    seconds=${2:-60}
    [[ $seconds =~ ^[0-9]+$ ]] || die "fuzz: SECONDS must be a number"
    (($# <= 2)) || die "usage: ./dev fuzz [TARGET] [SECONDS]"
    need build fuzz
    fuzz_every "$seconds" "${target%_fuzz}"
    printf '%d targets passed, %d failed\n' "$FUZZ_PASSED" "$FUZZ_FAILED"
    ((FUZZ_FAILED == 0 && FUZZ_PASSED > 0))
}

# fuzz_every SECONDS [TARGET]: sets FUZZ_PASSED and FUZZ_FAILED.
fuzz_every() {
    local seconds=$1 only=${2-} names=() name source
    FUZZ_PASSED=0
    FUZZ_FAILED=0
    for source in spec/fuzz/*_fuzz.c; do
        [[ -f $source ]] || die "there is no target in spec/fuzz/"
        name=$(basename -- "$source" _fuzz.c)
        [[ -n $only && $name != "$only" ]] || names+=("$name")
    done
    ((${#names[@]})) || die "there is no spec/fuzz/${only}_fuzz.c"
    build_preset fuzz "${names[@]/%/_fuzz}"
    for name in "${names[@]}"; do
        if fuzz_one "$name" "$seconds"; then FUZZ_PASSED=$((FUZZ_PASSED + 1)); else FUZZ_FAILED=$((FUZZ_FAILED + 1)); fi
    done
}

fuzz_one() {
    local name=$1 seconds=$2 folder=build/fuzz/$1 seeds=() log
    log=$folder/fuzz.log
    mkdir -p "$folder/corpus"
    [[ ! -d spec/fuzz/corpus/$name ]] || seeds=("spec/fuzz/corpus/$name")
    # The corpus that grows is kept in build/, so that the next run goes on where this one stopped. Long inputs from the start
    # (-len_control): a run of seconds would otherwise end before they are long enough to mean anything.
    if ! logged "Fuzzing $name for $seconds s" "$log" "build/fuzz/spec/${name}_fuzz" -max_total_time="$seconds" -len_control=0 -timeout=10 \
        -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$folder/" "$folder/corpus" "${seeds[@]}"; then
        note "$name: input that failed is in $folder/"
        return 1
    fi
    note "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions"
}
