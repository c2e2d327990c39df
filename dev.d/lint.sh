# Formatting and static checks. Every check runs, then the command fails if one of them did.
# shellcheck shell=bash

command_lint() {
    local fast=0 failures=()
    # Shallow: within functions and what is inlined cheaply. Deep takes four times as long and is wrong more often.
    export TIDY_DEPTH=shallow
    while (($#)); do
        case $1 in
            --fast) fast=1 ;; # without clang-tidy, cppcheck and the web: seconds, for before a commit
            --deep) TIDY_DEPTH=deep ;;
            *) die "lint: unknown option $1" ;;
        esac
        shift
    done
    if ((fast)); then need lint; else need build lint web; fi
    mkdir -p build/lint
    check "Structure: dependencies, file sizes, nothing generated" check_structure
    check "Shell syntax" check_shell
    check "clang-format" check_format
    check "luacheck" check_lua
    if ((!fast)); then
        configure release # for compile_commands.json
        check "cppcheck" check_cppcheck
        check "clang-tidy" check_tidy
        check "eslint and tsc" check_web
    fi
    if ((${#failures[@]})); then
        step "Lint failed: $(IFS=, && echo "${failures[*]}")"
        return 1
    fi
    step "Lint passed"
}

check() {
    step "$1"
    # In a subshell of its own, so that errexit holds inside although we look at the status.
    local status=0
    set +e
    (set -e && "$2")
    status=$?
    set -e
    ((status == 0)) || failures+=("$1")
}

sources() { git ls-files --cached --others --exclude-standard -- "$@"; }

c_files() { existing "$(sources '*.c' '*.h' '*.cc' '*.cpp' '*.hpp')"; }

# Names one a line, without those that are only in the index.
existing() {
    local file
    while IFS= read -r file; do
        [[ ! -f $file ]] || printf '%s\n' "$file"
    done <<<"$1"
}

command_format() {
    need lint
    c_files | tr '\n' '\0' | xargs -0 -r clang-format -i
    step "Formatted"
}

check_format() { c_files | tr '\n' '\0' | xargs -0 -r -n 40 clang-format --dry-run --Werror; }

check_structure() {
    lua5.4 spec/structure/dependencies.lua --self-test
    lua5.4 spec/structure/dependencies.lua
}

check_shell() {
    local files
    mapfile -t files < <(existing "$(sources dev 'dev.d/*.sh' .ci/run '*.sh')" | sort -u)
    local file
    for file in "${files[@]}"; do bash -n "$file"; done
    shellcheck -x "${files[@]}"
}

check_lua() {
    local files
    mapfile -t files < <(existing "$(sources '*.lua')")
    luacheck --quiet --codes "${files[@]}"
}

check_cppcheck() {
    local queue
    queue=/usr/include/$(gcc -print-multiarch)/sys/queue.h # without TAILQ_* the files that use them are no C
    mkdir -p build/lint/cppcheck
    cppcheck --quiet -j "$(nproc)" --cppcheck-build-dir=build/lint/cppcheck --std=c11 --language=c --platform=unix64 \
        --enable=warning,performance --inline-suppr --error-exitcode=1 \
        --suppressions-list=dev.d/cppcheck.suppress -D__GNUC__=12 -D_GNU_SOURCE -D__x86_64__ -Iinclude --include="$queue" \
        collectors runtime sidecar dashboard/server lua examples bench
}

# Files that are unchanged since they were last found clean, along with every header, are not analysed again.
check_tidy() {
    local stamps=build/lint/tidy key changed=() file stamp
    mkdir -p "$stamps"
    key=$( (echo "$TIDY_DEPTH" && cat .clang-tidy && c_files | grep '\.h$' | sort | tr '\n' '\0' | xargs -0 cat) | sha256sum)
    while IFS= read -r file; do
        stamp=$stamps/${file//\//__}
        [[ -f $stamp && $(<"$stamp") == "$key $(sha256sum <"$file")" ]] || changed+=("$file")
    done < <(tidy_files)
    ((${#changed[@]})) || return 0
    note "${#changed[@]} files"
    export -f tidy_one
    printf '%s\0' "${changed[@]}" | xargs -0 -n 1 -P "$(nproc)" bash -c 'tidy_one "$@"' _ "$key" "$stamps"
}

# The product's translation units: what the build knows, less the tests, whose macros the analyser does not follow.
tidy_files() {
    sed -n 's|^  "file": "\(.*\)",\{0,1\}$|\1|p' build/release/compile_commands.json | sort -u |
        while IFS= read -r file; do
            file=${file#"$ROOT"/}
            case $file in
                collectors/* | runtime/* | sidecar/* | dashboard/server/* | lua/* | examples/* | bench/*.c) echo "$file" ;;
            esac
        done
}

tidy_one() {
    local key=$1 stamps=$2 file=$3 output
    if output=$(clang-tidy --quiet -p build/release --extra-arg=-Xclang --extra-arg=-analyzer-config --extra-arg=-Xclang \
        --extra-arg="mode=$TIDY_DEPTH" "$file" 2>&1); then
        printf '%s' "$key $(sha256sum <"$file")" >"$stamps/${file//\//__}"
    else
        printf '%s\n' "$output" | grep -v '^[0-9]* warnings\? generated\|^Suppressed \|^Use -header-filter'
        return 1
    fi
}

check_web() { npm --prefix dashboard/web run --silent lint; }
