/*
 * libsi.so inside a host that has its own LuaJIT and its own libuv: neither disturbs the other. What the library
 * exports, and how open, close, fork and a second open behave.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <luajit-2.1/lauxlib.h>
#include <luajit-2.1/lualib.h>
#include <si/si.h>
#include <uv.h>

static int errors_logged;

static void on_log(void *data, si_log_level level, const char *message) {
    (void)data;
    if (level < SI_LOG_WARN) return;
    errors_logged++;
    print_message("si: %s\n", message);
}

static si_options quiet_options(void) {
    si_options options;
    si_options_init(&options);
    options.app_name = "embed-test";
    options.log = on_log;
    return options;
}

static void burn(double seconds) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    double end = (double)t.tv_sec + (double)t.tv_nsec / 1e9 + seconds;
    do clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    while ((double)t.tv_sec + (double)t.tv_nsec / 1e9 < end);
}

static void exports_its_api_and_nothing_else(void **state) {
    (void)state;
    FILE *pipe = popen("nm -D --defined-only " SI_BINARY_DIR "/lib/libsi.so", "r");
    char line[512], name[256];
    int count = 0;
    while (fgets(line, sizeof line, pipe)) {
        assert_int_equal(sscanf(line, "%*x %*c %255s", name), 1);
        if (strncmp(name, "si_", 3) != 0 || name[3] == '_') fail_msg("exported: %s", name);
        count++;
    }
    assert_int_equal(pclose(pipe), 0);
    assert_true(count >= 18);
}

static void close_timer(uv_timer_t *timer) {
    uv_close((uv_handle_t *)timer, NULL);
}

static void lives_beside_luajit_and_libuv(void **state) {
    (void)state;
    si_options options = quiet_options();
    si_runtime *runtime = NULL;
    assert_int_equal(si_runtime_open(&runtime, &options), 0);
    lua_State *lua = luaL_newstate();
    luaL_openlibs(lua);
    assert_int_equal(luaL_dostring(lua, "local s = 0 for i = 1, 1e7 do s = s + i % 7 end return s, jit.version"), 0);
    assert_true(lua_tonumber(lua, -2) == 29999994 || lua_tonumber(lua, -2) > 2.9e7);
    assert_non_null(strstr(lua_tostring(lua, -1), "LuaJIT"));
    uv_loop_t loop;
    uv_timer_t timer;
    assert_int_equal(uv_loop_init(&loop), 0);
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, close_timer, 20, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    burn(0.1);
    lua_close(lua);
    assert_int_equal(si_runtime_close(runtime, 20000), 0);
    assert_int_equal(errors_logged, 0);
}

static void opens_once_at_a_time_and_again_later(void **state) {
    (void)state;
    si_options options = quiet_options();
    for (int i = 0; i < 5; i++) {
        si_runtime *runtime = NULL, *second = NULL;
        assert_int_equal(si_runtime_open(&runtime, &options), 0);
        assert_int_equal(si_runtime_open(&second, &options), SI_EEXIST);
        assert_null(second);
        SI_SEGMENT("work") {
            burn(0.01);
        }
        si_error_record("group", "message");
        assert_int_equal(si_runtime_close(runtime, 20000), 0);
    }
    assert_int_equal(errors_logged, 0);
}

static void a_forked_child_is_inert_and_can_open_its_own(void **state) {
    (void)state;
    si_options options = quiet_options();
    si_runtime *runtime = NULL;
    assert_int_equal(si_runtime_open(&runtime, &options), 0);
    pid_t child = fork();
    if (child == 0) {
        SI_SEGMENT("in child") {
            burn(0.05);
        }
        si_error_record("child", "nothing listens");
        if (si_runtime_flush(runtime, 100) != SI_ESTATE) _exit(2);
        if (si_runtime_close(runtime, 100) != 0) _exit(3);
#ifdef __SANITIZE_THREAD__
        _exit(0); /* starts no threads in the child of a process with threads */
#endif
        si_runtime *own = NULL;
        if (si_runtime_open(&own, &options) != 0) _exit(4);
        burn(0.05);
        _exit(si_runtime_close(own, 20000) == 0 ? 0 : 5);
    }
    burn(0.1);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(si_runtime_flush(runtime, 20000), 0);
    assert_int_equal(si_runtime_close(runtime, 20000), 0);
}

static void calls_without_a_runtime_do_nothing(void **state) {
    (void)state;
    si_call call;
    si_segment segment;
    si_segment_start(&segment, "nobody");
    si_segment_stop(&segment);
    si_handler_start(&call, "GET /");
    si_handler_stop(&call, 200);
    si_call_start(&call, SI_CALL_SQL, "SELECT");
    si_call_stop(&call);
    si_error_record("a", NULL);
    si_error_record(NULL, NULL);
    si_gauge_set("g", 1);
    si_counter_add("c", 1);
    assert_int_equal(si_profile_start(NULL, "cpu", NULL), SI_EINVAL);
}

static void broken_rules_do_not_stop_the_program(void **state) {
    (void)state;
    char dir[] = "/tmp/si-embed-XXXXXX", path[128], command[256];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/health.lua", dir);
    FILE *file = fopen(path, "w");
    fputs("rule \"x\" {\n  when = function(s) return s:avg( end }\n", file);
    fclose(file);
    si_options options = quiet_options();
    options.rules_dir = dir;
    errors_logged = 0;
    si_runtime *runtime = NULL;
    assert_int_equal(si_runtime_open(&runtime, &options), 0);
    assert_int_equal(si_runtime_close(runtime, 20000), 0);
    assert_true(errors_logged >= 1);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

static void profiles_by_hand(void **state) {
    (void)state;
    si_options options = quiet_options();
    options.auto_profiling = 0;
    si_runtime *runtime = NULL;
    assert_int_equal(si_runtime_open(&runtime, &options), 0);
    assert_int_equal(si_profile_start(runtime, "coffee", NULL), SI_EUNAVAILABLE);
    assert_int_equal(si_profile_start(runtime, "heap", "import"), 0); /* two at once */
    assert_int_equal(si_profile_start(runtime, "cpu", "import"), 0);
    assert_int_equal(si_profile_start(runtime, "cpu", "import"), SI_ESTATE);
    burn(0.1);
    assert_int_equal(si_profile_stop(runtime, "cpu"), 0);
    assert_int_equal(si_profile_stop(runtime, "cpu"), SI_ESTATE);
    assert_int_equal(si_profile_stop(runtime, "heap"), 0);
    assert_int_equal(si_runtime_close(runtime, 20000), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exports_its_api_and_nothing_else),
        cmocka_unit_test(lives_beside_luajit_and_libuv),
        cmocka_unit_test(opens_once_at_a_time_and_again_later),
        cmocka_unit_test(a_forked_child_is_inert_and_can_open_its_own),
        cmocka_unit_test(calls_without_a_runtime_do_nothing),
        cmocka_unit_test(broken_rules_do_not_stop_the_program),
        cmocka_unit_test(profiles_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
