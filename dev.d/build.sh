# Configure and compile. Each preset of CMakePresets.json has its own directory under build/.
# shellcheck shell=bash

command_build() {
    local preset=release
    while (($#)); do
        case $1 in
            --preset) preset=${2:?"--preset needs a name"}; shift ;;
            *) die "build: unknown option $1" ;;
        esac
        shift
    done
    case $preset in
        clang | fuzz) need build fuzz ;;
        asan | tsan) need build ;;
        *) need build web ;;
    esac
    build_preset "$preset"
    step "Built: build/$preset/bin, build/$preset/lib"
}

# build_preset PRESET [TARGET...]; with WITH_TESTS=1 the tests too, whose packages must be there.
build_preset() {
    local preset=$1 targets=("${@:2}")
    configure "$preset"
    step "Compiling ($preset)"
    NINJA_STATUS='    [%f/%t] ' ninja -C "build/$preset" -j "$(jobs_allowed)" "${targets[@]}" | quiet_ninja
}

# Off a terminal, ninja prints a line for every file: keep one in ten, and everything that is not progress.
quiet_ninja() {
    if [[ -t 1 ]]; then
        cat
    else
        awk -F'[][/ ]+' '/^    \[[0-9]+\/[0-9]+\]/ { if ($2 % 10 && $2 != $3) next } !/Entering directory/ { print; fflush() }'
    fi
}

configure() {
    local preset=$1 build=build/$1 tests=OFF
    # A checkout that was moved or copied has a cache that points elsewhere.
    if [[ -f $build/CMakeCache.txt ]] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$ROOT" "$build/CMakeCache.txt"; then
        note "build/$preset belongs to another folder: starting it afresh"
        rm -rf -- "$build"
    fi
    case $preset in release | debug) install_web_modules ;; esac
    # Once the tests are in, they stay: going back and forth would configure again each time.
    local was=''
    [[ ! -f $build/preset ]] || was=$(<"$build/preset")
    if ((${WITH_TESTS-0})) || [[ $was == ON ]]; then tests=ON; fi
    [[ -f $build/build.ninja && $was == "$tests" && ! CMakePresets.json -nt $build/preset ]] && return
    logged "Configuring ($preset)" "build/log/configure-$preset.log" cmake --preset "$preset" "-DSI_TESTS=$tests"
    echo "$tests" >"$build/preset"
}

# One compiler takes at most about half a gigabyte.
jobs_allowed() {
    local cores memory_mib
    cores=$(nproc)
    memory_mib=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
    ((memory_mib / 512 < cores)) && cores=$((memory_mib / 512))
    ((cores > 0)) || cores=1
    echo "$cores"
}

# npm ci, only when what it would install has changed.
install_web_modules() {
    local web=dashboard/web stamp=build/npm.stamp state
    state=$(cd -- "$web" && sha256sum package.json package-lock.json && node --version) ||
        die "$web: package.json, package-lock.json and node are needed"
    if [[ -f $web/node_modules/.package-lock.json && -f $stamp && $(<"$stamp") == "$state" ]]; then
        # CMake goes by time: a file that git wrote anew with the same content is no news.
        [[ ! $web/package-lock.json -nt $web/node_modules/.package-lock.json ]] || touch "$web/node_modules/.package-lock.json"
        return
    fi
    logged "Installing the web page's modules from the npm registry" build/log/npm.log \
        npm --prefix "$web" ci --no-audit --no-fund --loglevel=warn || die "npm ci failed in $web"
    mkdir -p build
    printf '%s\n' "$state" >"$stamp"
}

command_clean() {
    (($# == 0)) || die "clean: takes no option"
    rm -rf -- build .demo dashboard/web/node_modules
    step "Removed build/, .demo/ and dashboard/web/node_modules/"
}
