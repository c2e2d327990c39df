/*
 * Samples of every kind at any moment: allocations in the middle of Lua's core, calls from C functions, and ticks a
 * thousand times a second in a program that does everything that moves Lua's stacks. Nothing crashes, no event is lost
 * or told twice.
 */
#include <math.h>
#include <pthread.h>

#include "../../collectors/native/record.h"
#include "lua_sampled.h"

/* ---- Allocations in Lua's core, waits in C functions ---- */

enum { SERIALS_MAX = 1 << 20 };

static uint64_t every = 97;

static uint64_t allocations, written;
static uint8_t arrived[SERIALS_MAX];
static uint64_t in_lua, in_core, twice;

/* As the heap sampler does: after the real call, from a function of ours that the core has called. */
__attribute__((noinline)) static void *sampled_realloc(void *pointer, size_t bytes) {
    void *moved = realloc(pointer, bytes);
    if (++allocations % every || written + 1 >= SERIALS_MAX) return moved;
    uint64_t serial = written + 1;
    const si__record event = {.type = SI__EVENT_ALLOC,
                              .count = 1,
                              .value = (int64_t)bytes,
                              .caller = __builtin_return_address(0),
                              .text = &serial,
                              .text_bytes = sizeof serial};
    if (si__record_here(&event) == 0) written++;
    return moved;
}

static void *allocate(void *data, void *pointer, size_t old_bytes, size_t bytes) {
    (void)data, (void)old_bytes;
    if (bytes) return sampled_realloc(pointer, bytes);
    free(pointer);
    return NULL;
}

static void note_allocation(void *arg, const si__drained_event *event) {
    uint64_t serial;
    note(arg, event);
    if (event->type != SI__EVENT_ALLOC) return;
    assert_int_equal(event->text_bytes, sizeof serial);
    memcpy(&serial, event->text, sizeof serial);
    assert_true(serial > 0 && serial <= written);
    twice += arrived[serial];
    arrived[serial] = 1;
    int lua = 0;
    for (unsigned i = 0; i < event->frame_count; i++) lua |= si__pc_is_name(event->pcs[i]);
    in_lua += (unsigned)lua;
    in_core++;
}

static int lua_wait(lua_State *L) { /* wait(): a C function that is sampled while it waits */
    (void)L;
    const si__record event = {.type = SI__EVENT_WAIT,
                              .detail = SI__WAIT_NETWORK,
                              .count = 1,
                              .value = 1000,
                              .leaf = si__name_get("recv", "", 0),
                              .caller = __builtin_return_address(0)};
    si__record_here(&event); /* in the storm, the ring may be full */
    return 0;
}

static int lua_drain_all(lua_State *L) {
    (void)L;
    si__drain_events(drain, note_allocation, NULL);
    return 0;
}

static lua_State *sampled_state(void) {
    lua_State *L = lua_newstate(allocate, NULL);
    assert_non_null(L);
    luaL_openlibs(L);
    lua_pushglobaltable(L);
    luaL_setfuncs(L, provided, 0);
    lua_settop(L, 0);
    lua_register(L, "wait", lua_wait);
    lua_register(L, "drain", lua_drain_all);
    assert_int_equal(SI_LUA_ATTACH(NULL, L), 0);
    return L;
}

static void finish(lua_State *L) {
    lua_close(L);
    si__drain_events(drain, note_allocation, NULL);
}

static void start_counting(void) {
    forget_seen();
    memset(arrived, 0, sizeof arrived);
    allocations = written = in_lua = in_core = twice = 0;
}

static void allocations_and_waits_show_who_asked(void **state) {
    (void)state;
    start_counting();
    lua_State *L = sampled_state();
    start_counting();
    run(L,
        "local function tables(n) local t = {} for i = 1, n do t[i] = {i} end return #t end\n"
        "local function strings(n) local s = '' for i = 1, n do s = s .. i end return #s end\n"
        "local function deep(n) if n == 0 then return 0 end return 1 + deep(n - 1) end\n"
        "local function waits() wait() return 1 end\n"
        "for i = 1, 200 do\n"
        "  local a, b, c = tables(100), strings(30), coroutine.wrap(function() local d = deep(1500) return d end)()\n"
        "  drain()\n"
        "end\n"
        "for i = 1, 50 do waits() drain() end\n");
    uint64_t inside = in_core, with_lua = in_lua;
    finish(L);
    uint64_t tables = 0, strings = 0, deep = 0, waits = 0;
    for (size_t i = 0; i < seen_count; i++) {
        const lua_stack_seen *s = &seen[i];
        if (s->type == SI__EVENT_ALLOC && strstr(s->text, "main chunk;tables")) tables += s->count;
        if (s->type == SI__EVENT_ALLOC && strstr(s->text, "main chunk;strings")) strings += s->count;
        if (s->type == SI__EVENT_ALLOC && strstr(s->text, "deep;deep")) deep += s->count;
        if (s->type == SI__EVENT_WAIT && strcmp(s->text, "main chunk;waits;recv") == 0) waits += s->count;
    }
    print_message("%lu of %lu allocations with Lua frames; tables %lu, strings %lu, deep %lu, waits %lu\n", with_lua,
                  inside, tables, strings, deep, waits);
    if (waits != 50) print_seen();
    assert_int_equal(in_core, written);
    assert_int_equal(twice, 0);
    assert_true(with_lua * 100 >= inside * 97);
    assert_true(tables > 100 && strings > 20 && deep > 5);
    assert_int_equal(waits, 50);
}

/* ---- The storm ---- */

static const char storm[] =
    "local deadline = ...\n"
    "local function deep(n) if n == 0 then return 0 end return 1 + deep(n - 1) end\n"
    "local function grow(n) local co = coroutine.wrap(function() return (deep(n)) end) return co() end\n"
    "local function nest(n) if n == 0 then return 1 end return coroutine.wrap(function() return (nest(n - 1)) end)() "
    "end\n"
    "local function fails(n) return coroutine.wrap(function() coroutine.yield() error(n % 2 == 0 and 'x' or {n}) end) "
    "end\n"
    "local mt = {__index = function(t, k) return k end, __gc = function(o) o.x = {} end,\n"
    "  __add = function(a, b) return coroutine.isyieldable() end, __close = function() deep(5) end,\n"
    "  __concat = function() return 'c' end, __lt = function() return true end, __call = function(self, ...) return "
    "... end}\n"
    "local kept, hooked = {}, 0\n"
    "local actions = {\n"
    "  function(i) return grow(i % 3000) end, function(i) return nest(i % 90) end,\n"
    "  function(i) local f = fails(i) f() return pcall(f) end,\n"
    "  function(i) local o = setmetatable({}, mt) return o[i], o + 1, o .. 1, o < o, o(i) end,\n"
    "  function(i) local t = {} for j = 1, 50 do t[j] = (j * i) % 51 end table.sort(t, function(a, b) return a < b "
    "end) end,\n"
    "  function(i) return ('abc'):rep(i % 100):gsub('%a', function(c) return c:upper() end) end,\n"
    "  function(i) local c <close> = setmetatable({}, mt) if i % 2 == 0 then error('closed') end end,\n"
    "  function(i) kept[i % 64] = coroutine.create(function() while true do coroutine.yield({}) deep(20) end end)\n"
    "    for _, co in pairs(kept) do coroutine.resume(co) end end,\n"
    "  function(i) local co = kept[i % 64] if co then coroutine.close(co) kept[i % 64] = nil end end,\n"
    "  function(i) if i % 5 == 0 then collectgarbage(i % 10 == 0 and 'generational' or 'incremental', 20, 400) end\n"
    "    collectgarbage('step') end,\n"
    "  function(i) if i % 7 == 0 then collectgarbage() end end,\n"
    "  function(i) return load('return function(...) local a, b = ... return a, b, ' .. i .. ' end')()(1, 2) end,\n"
    "  function(i) if i % 3 == 0 then debug.sethook(function() hooked = hooked + 1 end, i % 2 == 0 and 'crl' or '', i "
    "% 90 + 1)\n"
    "    else debug.sethook() end end,\n"
    "  function(i) local co = coroutine.create(function() deep(10) coroutine.yield() deep(10) end)\n"
    "    debug.sethook(co, function() hooked = hooked + 1 end, 'l') coroutine.resume(co) coroutine.resume(co) end,\n"
    "  function(i) return xpcall(function() deep(i % 7000) error('e') end, function(m) return debug.traceback(m) end) "
    "end,\n"
    "  function(i) wait() return call(deep, 30) end,\n"
    "  function(i) burn(0.2) end,\n"
    "  function(i) return pcall(deep, 1e7) end,\n"
    "}\n"
    "local heavy = {[1] = 1, [2] = 1, [8] = 1, [18] = 2000, [15] = 20}\n"
    "local i, rounds = 0, 0\n"
    "while cpu_ms() < deadline do\n"
    "  i = (i * 1103515245 + 12345) % 2147483648\n"
    "  local n = (i >> 8) % #actions + 1\n"
    "  if not heavy[n] or (i >> 16) % heavy[n] == 0 then pcall(actions[n], i >> 12) end\n"
    "  rounds = rounds + 1\n"
    "end\n"
    "debug.sethook() total = rounds\n";

/* As the runtime's thread does, which is not sampled. */
static _Atomic int draining;

static void *drain_often(void *arg) {
    si__thread_ignore_self();
    while (draining) {
        pause_ms(2);
        si__drain_events(drain, note_allocation, NULL);
    }
    return arg;
}

static void everything_at_once(void **state) {
    (void)state;
    enum { STORM_MS = 10000 };
    lua_State *L = sampled_state();
    start_counting();
    every = 10007;
    sample_at(1000);
    uint64_t begin = cpu_ns();
    assert_int_equal(luaL_loadbuffer(L, storm, sizeof storm - 1, "=storm"), LUA_OK);
    pthread_t drainer;
    draining = 1;
    assert_int_equal(pthread_create(&drainer, NULL, drain_often, NULL), 0);
    lua_pushnumber(L, (double)begin / 1e6 + STORM_MS);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) fail_msg("%s", lua_tostring(L, -1));
    double rounds = number_global(L, "total");
    draining = 0;
    pthread_join(drainer, NULL);
    finish(L);
    double used = (double)(cpu_ns() - begin);
    sample_at(0);
    si__drain_events(drain, note_allocation, NULL);
    si__drain_counts counts;
    si__drain_counts_get(drain, &counts);
    uint64_t with_lua = 0; /* of a deep stack, only the leaf's functions are told */
    for (size_t j = 0; j < seen_count; j++)
        if (seen[j].type == SI__EVENT_CPU && seen[j].text[0]) with_lua += seen[j].value_ns;
    print_message(
        "%.0f rounds, %lu samples, ratio %.4f, dropped %lu, %.3f with Lua frames; %lu of %lu allocations, %.3f\n",
        rounds, seen_events, (double)seen_ns / used, counts.dropped, (double)with_lua / (double)seen_ns, in_core,
        written, (double)in_lua / (double)in_core);
    assert_int_equal(counts.malformed, 0);
    assert_int_equal(twice, 0);
    assert_true(written - in_core <= counts.dropped);
    assert_true(fabs((double)seen_ns / used - 1) < 0.02 + 2 * (double)counts.dropped / (double)seen_events);
    assert_true((double)with_lua > 0.85 * (double)seen_ns);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(allocations_and_waits_show_who_asked), TEST(everything_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
