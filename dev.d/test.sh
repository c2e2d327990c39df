# Runs every test: cmocka programs, busted specs and the browser, all of them known to CTest.
# shellcheck shell=bash

command_test() {
    local all=0 presets=(release) names=() preset
    while (($#)); do
        case $1 in
            --all) all=1; presets=(release asan tsan) ;;
            --asan) presets=(asan) ;;
            --tsan) presets=(tsan) ;;
            -*) die "test: unknown option $1" ;;
            *) names+=("$1") ;;
        esac
        shift
    done
    need build test web
    ((all == 0)) || need fuzz
    local passed=0 failed=0 skipped=0 WITH_TESTS=1
    for preset in "${presets[@]}"; do
        build_preset "$preset"
        run_ctest "$preset" "${names[@]}"
    done
    if ((all)); then
        # shellcheck disable=SC2034  # read by configure
        WITH_TESTS=0
        fuzz_every 20 || failed=$((failed + FUZZ_FAILED))
        passed=$((passed + FUZZ_PASSED))
    fi
    step "Done"
    if ((skipped)); then
        printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    else
        printf '%d passed, %d failed\n' "$passed" "$failed"
    fi
    ((failed == 0 && passed > 0))
}

# run_ctest PRESET [NAME...]: adds to the caller's passed, failed and skipped.
run_ctest() {
    local preset=$1 build=build/$1 filter=() temporary run status=0
    shift
    (($# == 0)) || filter=(-R "$(IFS='|' && echo "$*")")
    temporary=$(mktemp -d "${TMPDIR:-/tmp}/si-test.XXXXXX")
    run=si-test-$$-$RANDOM$RANDOM
    step "Testing ($preset)"
    # halt_on_error: a report of a sanitizer is a failure, also in a child whose status nobody reads.
    ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1 \
        SI_TEST_RUN=$run TMPDIR=$temporary \
        ctest --test-dir "$build" -j 2 --output-on-failure --no-tests=error --timeout 300 "${filter[@]}" || status=$?
    if end_strays "$run"; then
        note "the tests left processes behind: that is a failure"
        failed=$((failed + 1))
    fi
    report_leftovers "$temporary"
    rm -rf -- "$temporary"
    count_cases "$build/Testing/Temporary/LastTest.log" "$status"
}

# Every process that a test started carries SI_TEST_RUN in its environment. Ends those that are left; true when there was one.
end_strays() {
    local environment pid found=1
    for environment in /proc/[0-9]*/environ; do
        pid=${environment#/proc/}
        pid=${pid%/environ}
        [[ $pid != "$$" && $pid != "$BASHPID" ]] || continue
        grep -qzxF "SI_TEST_RUN=$1" "$environment" 2>/dev/null || continue
        printf 'dev: left behind: process %d: %s\n' "$pid" "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)" >&2
        kill -KILL "$pid" 2>/dev/null || true
        found=0
    done
    return $found
}

# The tests' temporary folder is removed whole; what they forgot in it is named.
report_leftovers() {
    local left
    left=$(cd -- "$1" && find . -mindepth 1 -maxdepth 1 | sed 's|^\./||' | head -n 10 | tr '\n' ' ')
    [[ -z $left ]] || note "left in the temporary folder (removed): $left"
}

# Counts test cases where a test program says how many it has (cmocka, busted, TAP), and a program as one case where it does not.
count_cases() {
    local counts
    [[ -f $1 ]] || die "no test ran"
    counts=$(awk -f dev.d/count_cases.awk -- "$1")
    local counted_passed counted_failed counted_skipped
    read -r counted_passed counted_failed counted_skipped <<<"$counts"
    # ctest's own verdict counts too: a failure that no test program reported is a failure.
    if (($2 != 0 && counted_failed == 0)); then counted_failed=1; fi
    passed=$((passed + counted_passed))
    failed=$((failed + counted_failed))
    skipped=$((skipped + counted_skipped))
}
