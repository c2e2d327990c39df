/*
 * The collector of attached states, as metrics: lua.gc.count, lua.gc.pause, lua.gc.cpu_fraction, lua.memory.usage,
 * and of what it calls: lua.c_calls.cpu_fraction.
 *
 * Cycles are counted by an object that nothing refers to and whose finalizer makes it ready for the next cycle. Time in
 * the collector is what CPU samples find in it: nothing of the host's is timed. Host threads; in finalizers and in the
 * tick's handler, so lock-free and without allocation.
 */
#include <string.h>

#include "lua_vm.h"

static const char cycle_type[] = "si.lua.cycle";

#define SETTLED_NS 1000000000u /* metrics are set once a second of use */
#define WINDOW_NS                                                                                                      \
    30000000000u /* what is so old counts for a third: a second has too few samples to tell anything by                \
                  */

/* Of all threads, since the metrics were set last. */
static _Atomic uint64_t cpu_ns, gc_ns, c_ns, set_ns;
static _Atomic uint32_t cycles;
static struct { /* of the window; its owner is who has set set_ns, a second before anybody else will */
    double cpu_ns, gc_ns, c_ns, cycles;
} window;
static _Atomic int64_t memory_bytes; /* of all attached states, as last read */

void si__lua_read_memory(lua_attached *s, lua_State *L, int gone) {
    const lua_library *l = s->library;
    int64_t now = 0;
    if (!gone) {
        int kibibytes = l->lua_gc(L, LUA_GCCOUNT, 0), rest = l->lua_gc(L, LUA_GCCOUNTB, 0);
        if (kibibytes < 0 || rest < 0) return; /* not told while a finalizer runs */
        now = (int64_t)kibibytes * 1024 + rest;
    }
    int64_t sum = atomic_fetch_add_explicit(&memory_bytes, now - s->memory_bytes, memory_order_relaxed);
    sum += now - s->memory_bytes;
    s->memory_bytes = now;
    si_gauge_set("lua.memory.usage", (double)sum);
}

static void add_to(double *sum, double kept, uint64_t more) {
    *sum = *sum * kept + (double)more;
}

void si__lua_count_tick(lua_attached *s, lua_State *L, uint64_t now_ns, uint64_t value_ns, const lua_shape *shape) {
    atomic_fetch_add_explicit(&cpu_ns, value_ns, memory_order_relaxed);
    if (shape->collecting)
        atomic_fetch_add_explicit(&gc_ns, value_ns, memory_order_relaxed);
    else if (shape->quiet)
        atomic_fetch_add_explicit(&c_ns, value_ns, memory_order_relaxed);
    uint64_t last = atomic_load_explicit(&set_ns, memory_order_relaxed);
    if (now_ns - last < SETTLED_NS) return;
    if (!atomic_compare_exchange_strong_explicit(&set_ns, &last, now_ns, memory_order_relaxed, memory_order_relaxed))
        return;
    if (s) si__lua_read_memory(s, L, 0);
    uint64_t past_ns = now_ns - last;
    double kept = last == 0 || past_ns >= WINDOW_NS ? 0 : 1 - (double)past_ns / WINDOW_NS;
    add_to(&window.cpu_ns, kept, atomic_exchange_explicit(&cpu_ns, 0, memory_order_relaxed));
    add_to(&window.gc_ns, kept, atomic_exchange_explicit(&gc_ns, 0, memory_order_relaxed));
    add_to(&window.c_ns, kept, atomic_exchange_explicit(&c_ns, 0, memory_order_relaxed));
    add_to(&window.cycles, kept, atomic_exchange_explicit(&cycles, 0, memory_order_relaxed));
    if (last == 0 || window.cpu_ns <= 0) return;
    si_gauge_set("lua.gc.cpu_fraction", window.gc_ns / window.cpu_ns);
    si_gauge_set("lua.c_calls.cpu_fraction", window.c_ns / window.cpu_ns);
    if (window.cycles > 0.5) si_gauge_set("lua.gc.pause", window.gc_ns / 1e9 / window.cycles);
}

/* Where the collector's step lies shows when it calls this finalizer from the interpreter's loop. */
static void find_step(lua_library *library) {
    lua_thread *t = si__lua_here;
    if (library->step.to || atomic_exchange_explicit(&t->busy, 1, memory_order_acquire)) return;
    unsigned flags, frames = si__lua_walk_here(t, &flags);
    si__lua_find_step(library, t->structure, frames);
    atomic_store_explicit(&t->busy, 0, memory_order_release);
}

/* __gc of the object: once a cycle. [-0, +0, -] */
static int cycle_ended(lua_State *L) {
    lua_library *l = si__lua_library_around(__builtin_return_address(0));
    lua_attached *s = l ? si__lua_state_of(l, L) : NULL;
    if (!s) return 0; /* detached: the object goes */
    atomic_fetch_add_explicit(&cycles, 1, memory_order_relaxed);
    si_counter_add("lua.gc.count", 1);
    find_step(l);
    l->lua_getfield(L, LUA_REGISTRYINDEX, cycle_type);
    l->lua_setmetatable(L, 1); /* to be finalized once more */
    return 0;
}

void si__lua_watch_collector(lua_attached *s, lua_State *L) {
    const lua_library *l = s->library;
    l->lua_newuserdatauv(L, 0, 0);
    l->lua_createtable(L, 0, 1);
    l->lua_pushcclosure(L, cycle_ended, 0);
    l->lua_setfield(L, -2, "__gc");
    l->lua_pushvalue(L, -1);
    l->lua_setfield(L, LUA_REGISTRYINDEX, cycle_type);
    l->lua_setmetatable(L, -2);
    l->lua_settop(L, -2);
    si__lua_read_memory(s, L, 0);
}
