/*
 * What a host may count on while a state is attached: its own hooks, its collector, its errors and its coroutine
 * library go on as they were; states are closed, detached and used in any order.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "lua_sampled.h"

enum { HZ = 500 };

static void drain_all(void) {
    si__drain_events(drain, note, NULL);
}

/* ---- The host's hooks ---- */

static uint64_t events[5];

static void count_events(lua_State *L, lua_Debug *ar) {
    (void)L;
    events[ar->event]++;
}

static const char calls[] = "local function f(x) return x + 1 end\n"
                            "local x = 0\n"
                            "for i = 1, 4000000 do x = f(x) end\n"
                            "drain()\n";

/* Runs the same program with a hook, attached or not. */
static void count_with_hook(int attached, int mask, int count) {
    lua_State *L = attached ? attached_state() : new_state();
    memset(events, 0, sizeof events);
    lua_sethook(L, count_events, mask, count);
    run(L, calls);
    assert_true(attached || lua_gethook(L) == count_events);
    lua_close(L);
}

static void a_host_hook_misses_no_event(void **state) {
    (void)state;
    static const int masks[] = {LUA_MASKCALL | LUA_MASKRET, LUA_MASKLINE, LUA_MASKCALL | LUA_MASKLINE | LUA_MASKRET};
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        uint64_t alone[5];
        count_with_hook(0, masks[i], 0);
        memcpy(alone, events, sizeof alone);
        forget_seen();
        sample_at(HZ);
        count_with_hook(1, masks[i], 0);
        sample_at(0);
        assert_true(seen_events > 20);
        assert_true(ns_of("main chunk") > seen_ns / 2);
        /* Attaching itself calls functions, but before the hook is set. */
        for (int event = 0; event < 5; event++) assert_int_equal(events[event], alone[event]);
    }
}

/* A count hook that fires rarely: setting a hook begins the count anew, and ticks come more often than its count. */
static void a_host_count_hook_keeps_its_pace(void **state) {
    (void)state;
    static const int counts[] = {1, 100, 4000000};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        count_with_hook(0, LUA_MASKCOUNT, counts[i]);
        uint64_t alone = events[LUA_HOOKCOUNT];
        forget_seen();
        sample_at(HZ);
        count_with_hook(1, LUA_MASKCOUNT, counts[i]);
        sample_at(0);
        print_message("every %d: %lu alone, %lu with %lu samples\n", counts[i], alone, events[LUA_HOOKCOUNT],
                      seen_events);
        assert_true(seen_events > 20);
        assert_true(ns_of("main chunk") > seen_ns / 2);
        assert_true(events[LUA_HOOKCOUNT] + 1 + alone / 20 >= alone && events[LUA_HOOKCOUNT] <= alone + 1 + alone / 20);
    }
}

/* ---- The life of a state ---- */

static int resume_is(lua_State *L, const char *name, lua_CFunction *out) {
    lua_getglobal(L, "coroutine");
    lua_getfield(L, -1, name);
    lua_CFunction now = lua_tocfunction(L, -1);
    lua_pop(L, 2);
    int same = now == *out;
    *out = now;
    return same;
}

static void detaching_puts_everything_back(void **state) {
    (void)state;
    lua_State *L = new_state();
    lua_CFunction resume = NULL, wrap = NULL, panic = lua_atpanic(L, NULL);
    lua_atpanic(L, panic);
    resume_is(L, "resume", &resume);
    resume_is(L, "wrap", &wrap);
    assert_int_equal(si_lua_detach(L), SI_ENOTFOUND);
    assert_int_equal(si_lua_attach(NULL, L), 0); /* as the dynamic linker finds it */
    assert_int_equal(si_lua_attach(NULL, L), 0);
    sample_at(HZ);
    run(L, "made = coroutine.wrap(function(a) while true do a = coroutine.yield(a + 1) end end) assert(made(1) == 2)\n"
           "for i = 1, 2e6 do local x = i * i end");
    assert_int_equal(lua_gettop(L), 0);
    assert_int_equal(si_lua_detach(L), 0);
    assert_int_equal(si_lua_detach(L), SI_ENOTFOUND);
    assert_true(resume_is(L, "resume", &resume));
    assert_true(resume_is(L, "wrap", &wrap));
    assert_ptr_equal(lua_atpanic(L, panic), panic);
    assert_null(lua_gethook(L));
    forget_seen();
    run(L, "assert(made(2) == 3) for i = 1, 2e7 do local x = i * i end collectgarbage() collectgarbage() drain()");
    assert_int_equal(ns_of("main chunk"), 0); /* the state is not looked at any more */
    assert_true(seen_ns > 0);
    assert_int_equal(SI_LUA_ATTACH(NULL, L), 0);
    run(L, "for i = 1, 2e7 do local x = i * i end drain()");
    assert_true(ns_of("main chunk") > 0);
    lua_close(L);
}

static void states_come_and_go(void **state) {
    (void)state;
    assert_int_equal(SI_LUA_ATTACH(NULL, NULL), SI_EINVAL);
    assert_int_equal(si_lua_attach(NULL, NULL), SI_EINVAL);
    sample_at(HZ);
    lua_State *kept = attached_state();
    for (int i = 0; i < 40; i++) { /* addresses come again */
        lua_State *L = attached_state(), *other = new_state();
        run(L, "local t = {} for i = 1, 3e4 do t[i % 100] = {i} end");
        run(kept, "local t = {} for i = 1, 3e4 do t[i % 100] = {i} end");
        run(other, "local t = {} for i = 1, 3e4 do t[i % 100] = {i} end");
        if (i % 3 == 0) assert_int_equal(si_lua_detach(L), 0);
        lua_close(i % 2 ? L : other);
        lua_close(i % 2 ? other : L);
    }
    lua_State *many[64];
    for (int i = 0; i < 63; i++) many[i] = attached_state();
    many[63] = new_state();
    assert_int_equal(SI_LUA_ATTACH(NULL, many[63]), SI_ELIMIT);
    assert_true(strlen(si_lua_reason()) > 0);
    for (int i = 0; i < 64; i++) lua_close(many[i]);
    lua_close(kept);
}

static void *use_elsewhere(void *L) {
    forget_seen();
    run(L, "for i = 1, 3e7 do local x = i * i end");
    assert_int_equal(SI_LUA_ATTACH(NULL, L), 0);
    run(L, "local function moved() for i = 1, 3e7 do local x = i * i end end moved() drain()");
    return NULL;
}

static void a_state_may_move_to_another_thread(void **state) {
    (void)state;
    pthread_t thread;
    lua_State *L = attached_state();
    sample_at(HZ);
    run(L, "for i = 1, 1e6 do local x = i * i end");
    assert_int_equal(pthread_create(&thread, NULL, use_elsewhere, L), 0);
    pthread_join(thread, NULL);
    assert_true(ns_of("moved") > 0);
    run(L, "for i = 1, 1e6 do local x = i * i end"); /* its thread is gone */
    lua_close(L);
}

/* ---- Coroutines that C resumes ---- */

static void coroutines_of_a_c_scheduler_are_followed_when_told(void **state) {
    (void)state;
    lua_State *L = attached_state();
    run(L,
        "local function job(n) for i = 1, n do local x = 0 for j = 1, 2e5 do x = x + j end coroutine.yield() end end\n"
        "function start(n) job(n) return 1 end");
    sample_at(HZ);
    for (int told = 0; told < 2; told++) {
        lua_State *co = lua_newthread(L);
        int results, status = LUA_YIELD;
        lua_getglobal(co, "start");
        lua_pushinteger(co, 200);
        forget_seen();
        for (int arguments = 1; status == LUA_YIELD; arguments = 0) {
            if (told) si_lua_enter(co, NULL);
            status = lua_resume(co, NULL, arguments, &results);
            if (told) si_lua_leave(co);
            drain_all();
        }
        assert_int_equal(status, LUA_OK);
        print_message("told %d: %.3f of %.1f ms\n", told, (double)ns_of("job") / (double)seen_ns,
                      (double)seen_ns / 1e6);
        assert_true(told ? (double)ns_of("job") > 0.9 * (double)seen_ns : ns_of("job") == 0);
        assert_true(seen_events > 20);
        lua_pop(L, 1);
    }
    lua_close(L);
}

/* ---- Errors ---- */

static uint64_t error_count(const char *group) {
    return atomic_load(&si__instrument_get(SI__INSTRUMENT_ERROR, group)->count);
}

static void errors_that_nobody_caught_have_a_lua_stack(void **state) {
    (void)state;
    lua_State *L = attached_state();
    static const char text[] = "local function inner(x)\n if x then error('no addressee') end\n return x.field\nend\n"
                               "local function outer(x) inner(x) return 1 end\n"
                               "function fail(x) outer(x) return 1 end\n"
                               "function caught() for i = 1, 50 do assert(not pcall(outer, true)) end end\n"
                               "function object() error({}) end";
    run(L, text);
    forget_seen();
    uint64_t raised = error_count("Lua error at spec:2"), indexed = error_count("Lua error at spec:3");
    uint64_t objects = error_count("Lua error (a table)");
    static const char *const names[] = {"fail", "fail", "caught", "object"};
    for (int i = 0; i < 4; i++) {
        lua_pushcfunction(L, si_lua_error);
        lua_getglobal(L, names[i]);
        if (i == 0) lua_pushboolean(L, 1);
        int status = lua_pcall(L, i == 0, 0, 1);
        assert_int_equal(status, i == 2 ? LUA_OK : LUA_ERRRUN);
        if (i == 0) assert_string_equal(lua_tostring(L, -1), "spec:2: no addressee");
        lua_settop(L, 0);
    }
    drain_all();
    assert_int_equal(error_count("Lua error at spec:2"), raised + 1);
    assert_int_equal(error_count("Lua error at spec:3"), indexed + 1);
    assert_int_equal(error_count("Lua error (a table)"), objects + 1);
    int found = 0;
    for (size_t i = 0; i < seen_count; i++)
        found += seen[i].type == SI__EVENT_ERROR && strstr(seen[i].text, "outer;inner;error");
    if (!found) print_seen();
    assert_true(found);
    lua_close(L);
}

/* ---- The collector ---- */

static double metric(si__instrument_kind kind, const char *name) {
    double value;
    uint64_t bits = atomic_load(&si__instrument_get(kind, name)->value_bits);
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void the_collector_is_measured(void **state) {
    (void)state;
    lua_State *L = attached_state();
    double before = metric(SI__INSTRUMENT_COUNTER, "lua.gc.count");
    run(L, "collectgarbage('stop') for i = 1, 25 do collectgarbage() end");
    double cycles = metric(SI__INSTRUMENT_COUNTER, "lua.gc.count") - before;
    assert_true(cycles >= 24 && cycles <= 26);
    sample_at(HZ);
    run(L, "collectgarbage('restart') kept = {} for i = 1, 1e5 do kept[i] = {i} end\n"
           "local stop = cpu_ms() + 2500\n"
           "while cpu_ms() < stop do for i = 1, 1e4 do kept[i % 1e5 + 1] = {i} end drain() end\n"
           "bytes = collectgarbage('count') * 1024");
    double used = metric(SI__INSTRUMENT_GAUGE, "lua.memory.usage"), bytes = number_global(L, "bytes");
    double fraction = metric(SI__INSTRUMENT_GAUGE, "lua.gc.cpu_fraction"),
           pause = metric(SI__INSTRUMENT_GAUGE, "lua.gc.pause");
    print_message("%.0f cycles, %.0f bytes of %.0f, fraction %.3f, pause %.6f s\n",
                  metric(SI__INSTRUMENT_COUNTER, "lua.gc.count") - before, used, bytes, fraction, pause);
    assert_true(used > bytes / 3 && used < bytes * 3);
    assert_true(fraction > 0.05 && fraction < 0.95);
    assert_true(pause > 0 && pause < 1);
    lua_close(L);
    assert_true(metric(SI__INSTRUMENT_GAUGE, "lua.memory.usage") == 0);
}

/* Against the thread's own clock: C functions, whole collections, and Lua for the rest. First of the tests: gauges look
   back for half a minute. */
static void shares_of_time_are_those_of_the_clock(void **state) {
    (void)state;
    lua_State *L = attached_state();
    sample_at(HZ);
    run(L, "collectgarbage('stop') kept = {} for i = 1, 5e4 do kept[i] = {i} end\n"
           "local began, sum, in_c, in_gc, cycles = cpu_ms(), 0, 0, 0, 0\n"
           "while cpu_ms() < began + 3500 do\n"
           "  local before = cpu_ms() burn(7) in_c = in_c + cpu_ms() - before\n"
           "  before = cpu_ms() collectgarbage() in_gc = in_gc + cpu_ms() - before cycles = cycles + 1\n"
           "  for i = 1, 3e5 do sum = sum + i % 7 end drain()\n"
           "end\n"
           "c, gc, pause = in_c / (cpu_ms() - began), in_gc / (cpu_ms() - began), in_gc / cycles / 1000");
    double c = metric(SI__INSTRUMENT_GAUGE, "lua.c_calls.cpu_fraction"), c_truth = number_global(L, "c");
    double gc = metric(SI__INSTRUMENT_GAUGE, "lua.gc.cpu_fraction"), gc_truth = number_global(L, "gc");
    double pause_s = metric(SI__INSTRUMENT_GAUGE, "lua.gc.pause"), pause_truth_s = number_global(L, "pause");
    print_message("in C %.3f, really %.3f; collector %.3f, really %.3f; a cycle %.5f s, really %.5f s\n", c, c_truth,
                  gc, gc_truth, pause_s, pause_truth_s);
    assert_true(c_truth > 0.1 && gc_truth > 0.1);
    assert_true(fabs(c - c_truth) < 0.08 && fabs(gc - gc_truth) < 0.08); /* deviations of 1,750 samples: 0.01 */
    assert_true(fabs(pause_s / pause_truth_s - 1) < 0.4);
    lua_close(L);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(shares_of_time_are_those_of_the_clock),
                                       TEST(a_host_hook_misses_no_event),
                                       TEST(a_host_count_hook_keeps_its_pace),
                                       TEST(detaching_puts_everything_back),
                                       TEST(states_come_and_go),
                                       TEST(a_state_may_move_to_another_thread),
                                       TEST(coroutines_of_a_c_scheduler_are_followed_when_told),
                                       TEST(errors_that_nobody_caught_have_a_lua_stack),
                                       TEST(the_collector_is_measured)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
