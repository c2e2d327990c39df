/*
 * Attached Lua states in CPU samples: the time of Lua functions, of C functions that they call and of coroutines is
 * where it was spent. All expectations are in CPU time of the thread.
 */
#include <math.h>
#include <pthread.h>

#include "lua_sampled.h"

enum { HZ = 400 };

/* The share of CPU time that is known, against the one seen, in standard deviations. */
static void assert_share(const char *part, double used_ms, double total_ms) {
    double n = (double)seen_events, truth = used_ms / total_ms;
    double share = (double)ns_of(part) / (double)seen_ns;
    double sigma = sqrt(truth * (1 - truth) / n) + 1e-9;
    print_message("%-40s used %.4f seen %.4f (%.1f sigma of %.0f samples)\n", part, truth, share,
                  (share - truth) / sigma, n);
    if (fabs(share - truth) > 4 * sigma + 0.005) print_seen();
    assert_true(fabs(share - truth) <= 4 * sigma + 0.005);
}

static void assert_total(double used_ms) {
    double ratio = (double)seen_ns / 1e6 / used_ms;
    print_message("ratio %.4f\n", ratio);
    assert_true(fabs(ratio - 1) < 0.03);
}

static const char split[] =
    "local function spin(n) local x = 0 for i = 1, n do x = x + i % 7 end return x end\n"
    "local function hot(n) return (spin(n)) end\n"
    "local function cold(n) local t = {} for i = 1, n do t[i % 9] = i end return t end\n"
    "local function through_c(ms) burn(ms) end\n"
    "hot_ms, cold_ms, c_ms, back_ms = 0, 0, 0, 0\n"
    "local begin = cpu_ms()\n"
    "for round = 1, 120 do\n"
    "  local a = cpu_ms() hot(200000)\n"
    "  local b = cpu_ms() cold(70000)\n"
    "  local c = cpu_ms() through_c(3)\n"
    "  local d = cpu_ms() call(spin, 60000)\n"
    "  local e = cpu_ms() drain()\n"
    "  hot_ms = hot_ms + b - a cold_ms = cold_ms + c - b c_ms = c_ms + d - c back_ms = back_ms + e - d\n"
    "end\n"
    "total_ms = cpu_ms() - begin\n";

static void time_is_where_it_was_spent(void **state) {
    (void)state;
    lua_State *L = attached_state();
    forget_seen();
    sample_at(HZ);
    run(L, split);
    si__drain_events(drain, note, NULL);
    double total = number_global(L, "total_ms");
    assert_total(total);
    assert_share("main chunk;hot", number_global(L, "hot_ms"), total);
    assert_share("main chunk;cold", number_global(L, "cold_ms"), total);
    assert_share("main chunk;through_c;[a]", number_global(L, "c_ms"), total);
    assert_share("main chunk;spin", number_global(L, "back_ms"), total); /* called by C */
    lua_close(L);
}

static const char coroutines[] =
    "local function work(n) local x = 0 for i = 1, n do x = x + i % 7 end return x end\n"
    "local function nest(depth, n)\n"
    "  if depth == 0 then return work(n) end -- a tail call\n"
    "  return coroutine.wrap(function() return (nest(depth - 1, n)) end)()\n"
    "end\n"
    "local function gen(n) return coroutine.wrap(function() for i = 1, n do coroutine.yield((work(300))) end end) end\n"
    "local function consume(n) local s = 0 for v in gen(n) do s = s + v end return s end\n"
    "local function guarded(n) return pcall(function() coroutine.yield() return (work(n)) end) end\n"
    "nest_ms, gen_ms, guard_ms = 0, 0, 0\n"
    "local begin = cpu_ms()\n"
    "for round = 1, 100 do\n"
    "  local a = cpu_ms() nest(60, 250000)\n"
    "  local b = cpu_ms() consume(700)\n"
    "  local c = cpu_ms()\n"
    "  local co = coroutine.create(guarded) coroutine.resume(co, 250000) assert(coroutine.resume(co))\n"
    "  local d = cpu_ms() drain()\n"
    "  nest_ms = nest_ms + b - a gen_ms = gen_ms + c - b guard_ms = guard_ms + d - c\n"
    "end\n"
    "total_ms = cpu_ms() - begin\n";

static void coroutines_are_followed(void **state) {
    (void)state;
    lua_State *L = attached_state();
    forget_seen();
    sample_at(HZ);
    run(L, coroutines);
    si__drain_events(drain, note, NULL);
    double total = number_global(L, "total_ms");
    assert_total(total);
    assert_share("consume", number_global(L, "gen_ms"), total);
    assert_share("main chunk;function <spec:8>;pcall;function <spec:8>;work", number_global(L, "guard_ms"), total);
    assert_share("main chunk;nest", number_global(L, "nest_ms"), total);
    /* Both who resumed and what runs: the whole stack, from main chunk to work. */
    uint64_t deep = 0;
    for (size_t i = 0; i < seen_count; i++) {
        const char *text = seen[i].text;
        unsigned nests = 0;
        while ((text = strstr(text, "nest"))) text += 4, nests++;
        if (nests == 60 && strncmp(seen[i].text, "main chunk;nest", 15) == 0 && strstr(seen[i].text, "work"))
            deep += seen[i].value_ns;
    }
    if (!deep) print_seen();
    uint64_t working = 0; /* the rest is spent while a nest is made and taken apart */
    for (size_t i = 0; i < seen_count; i++)
        if (strstr(seen[i].text, "nest") && strstr(seen[i].text, ";work")) working += seen[i].value_ns;
    print_message("whole nests: %.3f\n", (double)deep / (double)working);
    assert_true(working > 0 && (double)deep > 0.97 * (double)working);
    lua_close(L);
}

/* ---- Two states on two threads ---- */

typedef struct worker {
    pthread_t thread;
    const char *name;
    int32_t tid;
} worker;

static _Atomic int running;

static void *work(void *arg) {
    worker *w = arg;
    char text[256];
    w->tid = (int32_t)syscall(SYS_gettid);
    snprintf(text, sizeof text, "local function %s() local x = 0 for i = 1, 4e7 do x = x + i end end %s()", w->name,
             w->name);
    lua_State *L = attached_state();
    run(L, text);
    lua_close(L);
    running--;
    return NULL;
}

static void states_on_two_threads_are_apart(void **state) {
    (void)state;
    static worker workers[2] = {{.name = "left"}, {.name = "right"}};
    forget_seen();
    sample_at(HZ);
    running = 2;
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    while (running > 0) {
        pause_ms(10);
        si__drain_events(drain, note, NULL);
    }
    for (int i = 0; i < 2; i++) pthread_join(workers[i].thread, NULL);
    si__drain_events(drain, note, NULL);
    uint64_t own[2] = {0, 0}, other = 0;
    for (size_t i = 0; i < seen_count; i++)
        for (int j = 0; j < 2; j++) {
            if (seen[i].tid != workers[j].tid) continue;
            if (strstr(seen[i].text, workers[j].name)) own[j] += seen[i].value_ns;
            if (strstr(seen[i].text, workers[1 - j].name)) other += seen[i].value_ns;
        }
    print_message("own %.1f %.1f ms, mixed up %.1f ms\n", (double)own[0] / 1e6, (double)own[1] / 1e6,
                  (double)other / 1e6);
    assert_true(own[0] > 100000000 && own[1] > 100000000);
    assert_int_equal(other, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(time_is_where_it_was_spent), TEST(coroutines_are_followed),
                                       TEST(states_on_two_threads_are_apart)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
