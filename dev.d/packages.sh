# What each command needs from Debian 12, and how it gets there. Reasons and licences: docs/dependencies.md.
# shellcheck shell=bash

# A name with | is satisfied by either package. "web" stands for nodejs and npm, unless a node of the machine's own will do.
declare -A PACKAGES=(
    [build]="ca-certificates gcc g++ libc6-dev binutils cmake ninja-build pkg-config
        liblua5.4-dev libuv1-dev libmsgpack-dev lua-cjson-dev
        libcurl4-openssl-dev|libcurl4-gnutls-dev|libcurl4-nss-dev libdw-dev libelf-dev libiberty-dev libzstd-dev zlib1g-dev
        libsqlite3-dev libmicrohttpd-dev libsodium-dev"
    [test]="libcmocka-dev openssl python3-aiosmtpd lua5.4 lua-busted lua-cjson libluajit-5.1-dev curl chromium
        libpq-dev libmariadb-dev libhiredis-dev libmongoc-dev postgresql-15 mariadb-server-core redis-tools libjemalloc2 libgoogle-perftools4"
    [demo]="wrk curl sqlite3"
    [lint]="clang clang-tidy clang-format cppcheck lua-check lua5.4 shellcheck"
    [fuzz]="clang libclang-rt-14-dev"
    [bench]="libgoogle-perftools-dev libjemalloc2 heaptrack wrk"
    [overhead]="wrk curl procps redis-server redis-tools nginx-light" # two servers that their packages start, too
)

# need GROUP...: installs what is missing of the groups, and nothing when nothing is.
need() {
    local group wanted=() missing=() packages=()
    for group in "$@"; do
        if [[ $group == web ]]; then
            have_node || wanted+=(nodejs npm)
        else
            read -r -d '' -a packages <<<"${PACKAGES[$group]}" || true
            wanted+=("${packages[@]}")
        fi
    done
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        note "This is not Debian: nothing is installed for you. Needed, under Debian's names: ${wanted[*]}"
        return 0
    fi
    mapfile -t missing < <(missing_packages "${wanted[@]}")
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

# Any node from 18 on will do (Debian 12's own is 18), as long as it brings npm.
have_node() {
    local version
    command -v npm >/dev/null || return 1
    version=$(node --version 2>/dev/null) || return 1
    version=${version#v}
    ((${version%%.*} >= 18))
}

missing_packages() {
    local installed wanted alternative
    installed=" $(dpkg-query -W -f='${Package} ${db:Status-Status}\n' 2>/dev/null |
        sed -n 's/ installed$//p' | tr '\n' ' ') "
    for wanted in "$@"; do
        for alternative in ${wanted//|/ }; do
            [[ $installed == *" $alternative "* ]] && continue 2
        done
        printf '%s\n' "${wanted%%|*}"
    done | sort -u
}

install_packages() {
    local as_root=() log=build/log/apt.log
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends)
    if ((EUID != 0)); then
        command -v sudo >/dev/null || refuse_install "$@"
        sudo -v || refuse_install "$@"
        as_root=(sudo -n)
    fi
    note "To install: $*"
    logged "Asking Debian for its package lists" build/log/apt-update.log \
        "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 update || note "going on with the lists that are there"
    logged "Installing $# packages (log: $log)" "$log" "${as_root[@]}" "${install[@]}" "$@" ||
        die "the packages could not be installed; this is the command: ${install[*]} $*"
}

refuse_install() {
    cat >&2 <<EOM
dev: these Debian packages are missing, and installing them needs root or sudo: $*
dev: ask somebody who may, to run
    apt-get update && apt-get install -y --no-install-recommends $*
dev: and start me again.
EOM
    exit 1
}
