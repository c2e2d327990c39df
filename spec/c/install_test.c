/*
 * What `cmake --install` leaves: a program builds against it by pkg-config (shared and static) and by CMake, Lua finds
 * the module, and the installed `si` finds its probe.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/si-install-XXXXXX";

static int shell(const char *format, ...) {
    char command[4096], line[8192];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    snprintf(line, sizeof line,
             "cd %s && export PKG_CONFIG_PATH=%s/usr/lib/pkgconfig && { %s ; } >log 2>&1 || { cat log; false; }", dir,
             dir, command);
    int status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void write_file(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state) {
    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(shell("cmake --install %s --prefix %s/usr", SI_BINARY_DIR, dir), 0);
    write_file("app.c", "#include <si/si.h>\nint main(void){si_options o;si_options_init(&o);si_runtime*r;int "
                        "rc=si_runtime_open(&r,&o);"
                        "SI_SEGMENT(\"work\"){}return rc?rc:si_runtime_close(r,2000);}\n");
    write_file(
        "app.cc",
        "#include <si/si.h>\nint main(){si::segment s(\"scope\");si::handler h(\"GET /\");h.status=500;return 0;}\n");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static void by_pkg_config_shared(void **state) {
    (void)state;
    assert_int_equal(shell("cc app.c $(pkg-config --cflags --libs si) -o app && LD_LIBRARY_PATH=usr/lib ./app"), 0);
    assert_int_equal(shell("g++ app.cc $(pkg-config --cflags --libs si) -o appcc && LD_LIBRARY_PATH=usr/lib ./appcc"),
                     0);
}

static void by_pkg_config_static(void **state) {
    (void)state;
    assert_int_equal(shell("cc app.c $(pkg-config --cflags si) usr/lib/libsi.a $(pkg-config --libs --static si | sed "
                           "'s/-lsi//') -o app-static && "
                           "./app-static && ! ldd app-static | grep -E 'libsi|liblua|libuv|msgpack'"),
                     0);
}

static void by_cmake(void **state) {
    (void)state;
    write_file("CMakeLists.txt", "cmake_minimum_required(VERSION 3.20)\nproject(app C)\nfind_package(si REQUIRED)\n"
                                 "add_executable(app app.c)\ntarget_link_libraries(app PRIVATE si::si)\n");
    assert_int_equal(shell("cmake -S . -B b -G Ninja -DCMAKE_PREFIX_PATH=%s/usr && cmake --build b && b/app", dir), 0);
}

static void lua_requires_it(void **state) {
    (void)state;
    assert_int_equal(shell("LUA_CPATH='usr/lib/lua/5.4/?.so' lua5.4 -e 'local si = require \"si\"; "
                           "assert(type(si.open) == \"function\")'"),
                     0);
}

static void the_installed_command_finds_its_probe(void **state) {
    (void)state;
    write_file("spin.c", "#include <time.h>\nint main(void){struct timespec t;do "
                         "clock_gettime(CLOCK_PROCESS_CPUTIME_ID,&t);while(t.tv_nsec<500000000);return 0;}\n");
    assert_int_equal(
        shell("cc -O1 spin.c -o spin && usr/bin/si run --folded out -- ./spin && grep -q main out/cpu.folded"), 0);
    assert_int_equal(
        shell("usr/bin/si --version && usr/bin/si rules check usr/share/si/rules && usr/bin/si-dashboard --version"),
        0);
    assert_int_equal(shell("man -l usr/share/man/man1/si.1 | grep -q folded || ! command -v man"), 0);
}

/* A user's own spec of a user's own rules: Debian's busted, Lua 5.4, and nothing of this checkout. */
static void rules_are_tested_with_busted(void **state) {
    (void)state;
    static const char run[] =
        "LUA_PATH=\"$PWD/usr/share/lua/5.4/?.lua;;\" LUA_CPATH=\"$(dirname \"$(find $PWD/usr/lib* "
        "-name testing_core.so)\")/../?.so;;\" busted --lua=/usr/bin/lua5.4 "
        "--output=plainTerminal user/spec";
    assert_int_equal(shell("mkdir -p user/spec user/rules"), 0);
    write_file("user/rules/mine.lua", "rule 'long' { watch = metric 'queue.length', when = function(s) return "
                                      "s:avg('5m') > 10 end, hold = '1m' }\n"
                                      "route { to = 'slack:perf', wait = '10s' }\n");
    write_file("user/spec/mine_spec.lua", "local t = require 'si.testing'\n"
                                          "it('fires', function()\n  t.load 'user/rules/mine.lua'\n"
                                          "  t.series { '20 x 10', every = '1m' }\n  t.advance '3m'\n"
                                          "  assert.fires 'long'\n  assert.routes_to 'slack:perf'\nend)\n");
    assert_int_equal(shell("%s", run), 0);
    write_file("user/spec/mine_spec.lua", "local t = require 'si.testing'\n"
                                          "it('fires', function()\n  t.load 'user/rules/mine.lua'\n"
                                          "  t.series { '2 x 10', every = '1m' }\n  t.advance '3m'\n"
                                          "  assert.fires 'long'\nend)\n");
    assert_int_equal(
        shell("! { %s; } >said && grep -q 'Expected this rule to fire' said && grep -qF 's:avg(\"5m\") = 2' said", run),
        0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_pkg_config_shared),
        cmocka_unit_test(by_pkg_config_static),
        cmocka_unit_test(by_cmake),
        cmocka_unit_test(lua_requires_it),
        cmocka_unit_test(the_installed_command_finds_its_probe),
        cmocka_unit_test(rules_are_tested_with_busted),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
