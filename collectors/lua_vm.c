/*
 * Lua states of the host: which are attached, and what happens to a sample of a thread that runs one.
 *
 * A state is attached by the host (si_lua_attach), by the Lua module, or by libsi-probe.so (preload_lua.c), on the
 * thread that runs it. Everything of it lives in a userdata of the state and ends with lua_close. Samples come from the
 * tick's handler and from calls that are sampled, on that same thread. See lua_stack.c for how frames are put together
 * and lua_wait.c for samples that must wait.
 */
#include "lua_vm.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "collector.h"
#include "lua_host.h"
#include "native/fork.h"
#include "native/probe.h"
#include "native/record.h"

#define SCAN_BYTES 65536u
#define LATE_NS 5000000000ull /* a sample that has waited so long goes out without Lua frames */

__thread int (*si__interpreter_take)(const si__interpreted *) __attribute__((tls_model("initial-exec")));
__thread lua_thread *si__lua_here __attribute__((tls_model("initial-exec")));
const char si__lua_key = 0;

static __thread const char *why __attribute__((tls_model("initial-exec")));
static pthread_mutex_t attach_lock = PTHREAD_MUTEX_INITIALIZER; /* attaching and detaching only */
static pthread_key_t end_key;
static int end_key_made;

/* ---- Samples ---- */

static int mentions(uint64_t word, const lua_thread *t, lua_attached **found) {
    for (uint32_t i = 0; i < lua_places(t); i++) {
        lua_attached *s = atomic_load(&t->states[i]);
        if (!s || (uint64_t)(uintptr_t)lua_current(s) != word) continue;
        *found = s;
        return 1;
    }
    return 0;
}

/*
 * The state whose interpreter runs at the leaf: its running coroutine is in a register, or the first that the stack
 * holds; every function of Lua carries it. A state that merely belongs to this thread must not be touched: another one,
 * not attached, may be running.
 */
__attribute__((no_sanitize("address", "thread"))) static lua_attached *find_state(const lua_thread *t,
                                                                                  const si__interpreted *sample) {
    const si__regs *r = sample->regs;
    const uint64_t registers[] = {r->rbx, r->fp, r->r12, r->r13, r->r14, r->r15, r->rdi, r->rsi, r->rdx, r->rcx, r->lr};
    lua_attached *found = NULL;
    for (size_t i = 0; i < sizeof registers / sizeof *registers; i++)
        if (registers[i] && mentions(registers[i], t, &found)) return found;
    uint64_t at = (r->sp + 7) & ~7ull, end = sample->stack_hi < 8 ? 0 : sample->stack_hi - 7;
    if (end > at + SCAN_BYTES) end = at + SCAN_BYTES;
    for (; at < end; at += 8) {
        uint64_t word = *(const volatile uint64_t *)(uintptr_t)at;
        if (word > 4096 && mentions(word, t, &found)) return found;
    }
    return NULL;
}

static const lua_library *library_of(const lua_thread *t) {
    for (uint32_t i = 0; i < lua_places(t); i++) {
        const lua_attached *s = atomic_load(&t->states[i]);
        if (s) return s->library;
    }
    return NULL;
}

/* A sample that cannot be told more of, with samples before it that wait: they would wait for nothing. */
static void give_up_waiting(lua_thread *t, uint64_t now_ns) {
    const lua_waiting *first = (const void *)t->waiting;
    if (t->waiting_bytes && now_ns - first->time_ns > LATE_NS) si__lua_write_raw(t);
}

static int place(lua_thread *t, lua_attached *s, const si__interpreted *sample, const lua_shape *shape) {
    si__event *event = sample->event;
    uint64_t *pcs = si__event_pcs(event);
    if (!si__lua_fits(s, shape, event->flags)) return 0; /* a coroutine runs that nobody told us of */
    if (!shape->quiet) {
        if (si__lua_wait(t, s, sample)) return 1;
        si__lua_write_raw(t);
        return si__lua_wait(t, s, sample);
    }
    unsigned flags = event->flags;
    si__lua_collect(t, s, pcs, event->frame_count);
    event->frame_count = (uint16_t)si__lua_merge(t, s->library, pcs, event->frame_count, 0, &flags);
    event->flags = (uint16_t)flags;
    return 0;
}

static int take_one(lua_thread *t, const si__interpreted *sample) {
    const lua_library *library = library_of(t);
    if (!library) return 0;
    if (t->region != sample->region || t->slot != sample->slot) { /* opened again, or a forked child */
        t->waiting_bytes = 0;
        t->region = sample->region;
        t->slot = sample->slot;
    }
    const si__event *event = sample->event;
    lua_shape shape = si__lua_shape(library, si__event_pcs(sample->event), event->frame_count);
    lua_attached *s = shape.loops ? find_state(t, sample) : NULL;
    if (s && s->library != library) shape = si__lua_shape(s->library, si__event_pcs(sample->event), event->frame_count);
    if (sample->type == SI__EVENT_CPU)
        si__lua_count_tick(s, s ? lua_current(s) : NULL, event->time_ns, (uint64_t)event->value, &shape);
    if (s) {
        give_up_waiting(t, event->time_ns);
        return place(t, s, sample, &shape);
    }
    if (shape.loops == 0) si__lua_write_raw(t); /* Lua was left, by an error or a return */
    return 0;
}

static int take(const si__interpreted *sample) {
    lua_thread *t = si__lua_here;
    if (!t || atomic_exchange_explicit(&t->busy, 1, memory_order_seq_cst)) return 0;
    atomic_signal_fence(memory_order_seq_cst);
    int saved = errno, taken = 0;
    if (sample)
        taken = take_one(t, sample);
    else
        si__lua_write_raw(t);
    errno = saved;
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&t->busy, 0, memory_order_seq_cst);
    return taken;
}

lua_attached *si__lua_state_of(const lua_library *library, lua_State *L) {
    lua_thread *t = si__lua_here;
    if (!t) return NULL;
    for (uint32_t i = 0; i < lua_places(t); i++) {
        lua_attached *s = atomic_load_explicit(&t->states[i], memory_order_relaxed);
        if (s && lua_current(s) == L) return s;
    }
    if (!library->lua_checkstack(L, 1)) return NULL;
    library->lua_rawgetp(L, LUA_REGISTRYINDEX, &si__lua_key);
    lua_attached *own = library->lua_touserdata(L, -1);
    library->lua_settop(L, -2);
    for (uint32_t i = 0; own && i < lua_places(t); i++)
        if (atomic_load_explicit(&t->states[i], memory_order_relaxed) == own) return own;
    return NULL;
}

/* ---- Threads ---- */

/* The thread ends: its states, if any are left, belong to nobody until they are attached again. */
static void thread_ends(void *record) {
    lua_thread *t = record;
    take(NULL);
    si__interpreter_take = NULL;
    si__lua_here = NULL;
    atomic_signal_fence(memory_order_seq_cst);
    pthread_mutex_lock(&attach_lock);
    for (uint32_t i = 0; i < lua_places(t); i++) {
        lua_attached *s = atomic_load(&t->states[i]);
        if (s) atomic_store(&s->owner, NULL);
    }
    pthread_mutex_unlock(&attach_lock);
    munmap(t, sizeof *t);
}

/* What still waits when the program ends. */
__attribute__((destructor)) static void process_ends(void) {
    if (si__interpreter_take && si__owner_region()) take(NULL);
}

static lua_thread *thread_here(void) {
    if (si__lua_here) return si__lua_here;
    if (!end_key_made && pthread_key_create(&end_key, thread_ends) != 0) return NULL;
    end_key_made = 1;
    lua_thread *t = mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (t == MAP_FAILED) return NULL;
    pthread_setspecific(end_key, t);
    si__lua_here = t;
    return t;
}

static _Atomic(lua_attached *) *free_place(lua_thread *t) {
    for (uint32_t i = 0; i < LUA_STATES; i++)
        if (!atomic_load(&t->states[i])) return &t->states[i];
    return NULL;
}

/* Takes the state from its thread, whose handler may be looking at it right now. Under the lock. */
static void disown(lua_attached *s) {
    lua_thread *t = atomic_load(&s->owner);
    if (!t) return;
    for (uint32_t i = 0; i < lua_places(t); i++)
        if (atomic_load(&t->states[i]) == s) atomic_store(&t->states[i], NULL);
    while (t != si__lua_here && atomic_load(&t->busy)) sched_yield();
    if (t->hooked_state == s) {
        t->hooked = NULL;
        t->hooked_state = NULL;
    }
    atomic_store(&s->owner, NULL);
}

/* ---- Attaching ---- */

static int panicked(lua_State *L) {
    lua_library *l = si__lua_library_around(__builtin_return_address(0));
    lua_attached *s = l ? si__lua_state_of(l, L) : NULL;
    si_lua_error(L);
    return s && s->panic ? s->panic(L) : 0;
}

/* Writes what waits, puts hooks back and takes the state from its thread; it stays as it is inside. Under the lock. */
static void let_go(lua_attached *s, lua_State *L) {
    lua_thread *t = si__lua_here;
    if (t && atomic_load(&s->owner) == t) {
        uint32_t was = atomic_exchange(&t->busy, 1);
        if (t->hooked_state == s) {
            si__lua_write_raw(t);
            si__lua_unhook(t);
        }
        si__lua_unhook_all(s);
        atomic_store(&t->busy, was);
    }
    disown(s);
    si__lua_read_memory(s, L, 1);
}

/* __gc of the guard: the state is being closed. [-0, +0, -] */
static int closing(lua_State *L) {
    lua_library *l = si__lua_library_around(__builtin_return_address(0));
    lua_attached *s = l ? l->lua_touserdata(L, 1) : NULL;
    if (!s) return 0;
    pthread_mutex_lock(&attach_lock);
    let_go(s, L);
    pthread_mutex_unlock(&attach_lock);
    return 0;
}

typedef struct attach_call {
    lua_library *library;
    lua_attached *state;
} attach_call;

/* Everything of Lua's that may run out of memory. The argument: an attach_call. [-0, +0, m] */
static int attach_inside(lua_State *L) {
    lua_library *l = si__lua_library_around(__builtin_return_address(0));
    attach_call *call = l->lua_touserdata(L, 1);
    l->luaL_checkversion_(L, LUA_VERSION_NUM, sizeof(lua_Integer) * 16 + sizeof(lua_Number)); /* LUAL_NUMSIZES */
    l->lua_rawgetp(L, LUA_REGISTRYINDEX, &si__lua_key);
    call->state = l->lua_touserdata(L, -1);
    if (call->state) return 0; /* attached before: it only moves here */
    if (!l->lua_checkstack(L, 20)) return 0;
    si__lua_learn_sites(l, L);
    lua_attached *s = l->lua_newuserdatauv(L, sizeof *s, 0);
    memset(s, 0, sizeof *s);
    s->library = l;
    l->lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    s->running[0] = l->lua_tothread(L, -1);
    l->lua_settop(L, -2);
    si__lua_watch_collector(s, L);
    si__lua_follow_coroutines(s, L);
    l->lua_createtable(L, 0, 1);
    l->lua_pushcclosure(L, closing, 0);
    l->lua_setfield(L, -2, "__gc");
    l->lua_setmetatable(L, -2);
    l->lua_rawsetp(L, LUA_REGISTRYINDEX, &si__lua_key);
    s->panic = l->lua_atpanic(L, panicked);
    call->state = s;
    return 0;
}

static int refuse(int error, const char *reason) {
    why = reason;
    return error;
}

static int attach(lua_State *L, const si_lua_functions *functions) {
    const char *reason = NULL;
    lua_library *l = si__lua_library(functions, &reason);
    if (!l) return refuse(SI_EUNAVAILABLE, reason);
    if ((int)l->lua_version(L) != LUA_VERSION_NUM) return refuse(SI_EINVAL, "not a Lua 5.4 state");
    lua_thread *t = thread_here();
    if (!t) return refuse(SI_ENOMEM, "no memory");
    _Atomic(lua_attached *) *free = free_place(t);
    if (!free) return refuse(SI_ELIMIT, "64 states are attached on this thread");
    if (!l->lua_checkstack(L, 4)) return refuse(SI_ENOMEM, "no room on the Lua stack");
    attach_call call = {l, NULL};
    l->lua_pushcclosure(L, attach_inside, 0);
    l->lua_pushlightuserdata(L, &call);
    int status = l->lua_pcallk(L, 1, 0, 0, 0, NULL);
    if (status != LUA_OK) l->lua_settop(L, -2);
    if (status != LUA_OK && status != LUA_ERRMEM) return refuse(SI_EUNAVAILABLE, "Lua refused the first look at it");
    if (!call.state) return refuse(SI_ENOMEM, "no memory for the state");
    if (atomic_load(&call.state->owner) != t) {
        disown(call.state);
        atomic_store(&call.state->owner, t);
        atomic_store(free, call.state);
        uint32_t places = (uint32_t)(free - t->states) + 1;
        if (places > lua_places(t)) atomic_store(&t->places, places);
    }
    si__interpreter_take = take;
    return 0;
}

int si_lua_attach_functions(si_runtime *runtime, lua_State *L, const si_lua_functions *functions) {
    (void)runtime; /* samples go to whichever is open */
    why = "";
    if (!L || !functions || functions->size != sizeof *functions) return refuse(SI_EINVAL, "no state or no functions");
    if (functions->debug_bytes != sizeof(lua_Debug)) return refuse(SI_EUNAVAILABLE, "a lua_Debug of another size");
    int saved = errno;
    pthread_mutex_lock(&attach_lock);
    int rc = attach(L, functions);
    pthread_mutex_unlock(&attach_lock);
    errno = saved;
    return rc;
}

int si_lua_attach(si_runtime *runtime, lua_State *L) {
    static __thread char missing[80] __attribute__((tls_model("initial-exec")));
    si_lua_functions functions;
    const char *name = "";
    int saved = errno;
    int rc = si__lua_find(&functions, &name);
    errno = saved;
    if (rc == 0) return si_lua_attach_functions(runtime, L, &functions);
    snprintf(missing, sizeof missing, "the program exports no %s (SI_LUA_ATTACH needs none)", name);
    return refuse(L ? SI_EUNAVAILABLE : SI_EINVAL, missing);
}

const char *si_lua_reason(void) {
    return why ? why : "";
}

/* ---- Detaching ---- */

static lua_library *library_with(lua_State *L) {
    lua_thread *t = si__lua_here;
    for (uint32_t i = 0; t && i < lua_places(t); i++) {
        lua_attached *s = atomic_load_explicit(&t->states[i], memory_order_relaxed);
        if (s && lua_current(s) == L) return s->library;
    }
    return si__lua_library_around(NULL); /* the only one there is */
}

/* The argument: the state's record; settop pushes nil. [-0, +0, m] */
static int detach_inside(lua_State *L) {
    lua_library *l = si__lua_library_around(__builtin_return_address(0));
    lua_attached *s = l->lua_touserdata(L, 1);
    if (l->lua_checkstack(L, 10)) si__lua_unfollow_coroutines(s, L);
    l->lua_rawgetp(L, LUA_REGISTRYINDEX, &si__lua_key);
    l->lua_settop(L, 3);
    l->lua_setmetatable(L, 2); /* no guard any more */
    l->lua_settop(L, 3);
    l->lua_rawsetp(L, LUA_REGISTRYINDEX, &si__lua_key);
    return 0;
}

int si_lua_detach(lua_State *L) {
    lua_library *l = L ? library_with(L) : NULL;
    if (!L) return SI_EINVAL;
    if (!l || !l->lua_checkstack(L, 4)) return SI_ENOTFOUND;
    int saved = errno;
    pthread_mutex_lock(&attach_lock);
    l->lua_rawgetp(L, LUA_REGISTRYINDEX, &si__lua_key);
    lua_attached *s = l->lua_touserdata(L, -1);
    if (s) {
        lua_CFunction panic = l->lua_atpanic(L, s->panic);
        if (panic != panicked) l->lua_atpanic(L, panic); /* the host has set another since */
        let_go(s, L);
        l->lua_pushcclosure(L, detach_inside, 0);
        l->lua_pushlightuserdata(L, s);
        if (l->lua_pcallk(L, 1, 0, 0, 0, NULL) != LUA_OK) l->lua_settop(L, -2);
    }
    l->lua_settop(L, -2);
    pthread_mutex_unlock(&attach_lock);
    errno = saved;
    return s ? 0 : SI_ENOTFOUND;
}

/* ---- Errors ---- */

enum { GROUP_BYTES = SI__NAME_BYTES, MESSAGE_BYTES = 256 };

/* "file:12" of "file:12: what happened"; else the kind of error. */
static void group_of(const char *message, char *group) {
    const char *end = NULL;
    for (const char *at = strchr(message, ':'); at && !end; at = strchr(at + 1, ':')) {
        size_t digits = strspn(at + 1, "0123456789");
        if (digits && at[1 + digits] == ':') end = at + 1 + digits;
    }
    if (end)
        snprintf(group, GROUP_BYTES, "Lua error at %.*s", (int)(end - message), message);
    else
        snprintf(group, GROUP_BYTES, "Lua error");
}

int si_lua_error(lua_State *L) {
    return si__lua_record_error(L, __builtin_return_address(0));
}

int si__lua_record_error(lua_State *L, const void *caller) {
    lua_library *l = library_with(L);
    lua_attached *s = l ? si__lua_state_of(l, L) : NULL;
    if (!s) return 1;
    char text[GROUP_BYTES + MESSAGE_BYTES], group[GROUP_BYTES];
    int kind = l->lua_type(L, -1), saved = errno;
    const char *message = kind == LUA_TSTRING ? l->lua_tolstring(L, -1, NULL) : "";
    group_of(message, group);
    if (kind != LUA_TSTRING) snprintf(group, sizeof group, "Lua error (a %s)", l->lua_typename(L, kind));
    si__instrument *count = si__instrument_get(SI__INSTRUMENT_ERROR, group);
    if (count) atomic_fetch_add_explicit(&count->count, 1, memory_order_relaxed);
    size_t group_bytes = strlen(group) + 1, message_bytes = strnlen(message, MESSAGE_BYTES - 1);
    memcpy(text, group, group_bytes);
    memcpy(text + group_bytes, message, message_bytes);
    const si__record event = {.type = SI__EVENT_ERROR,
                              .value = count == NULL,
                              .count = 1,
                              .caller = caller,
                              .text = text,
                              .text_bytes = (uint32_t)(group_bytes + message_bytes)};
    si__record_here(&event);
    errno = saved;
    return 1;
}

/* ---- The collector ---- */

static int start(char *reason, size_t reason_bytes) {
    const si__hook_table *tables[SI__LUA_COPIES];
    if (!si__probe_is_preloaded()) return 0; /* states may be attached before and after */
    for (int i = 0; i < SI__LUA_COPIES; i++) tables[i] = &si__lua_host_hooks[i];
    int rc = si__hook_install_all(tables, SI__LUA_COPIES);
    if (rc != 0) snprintf(reason, reason_bytes, "too many hook tables");
    return rc;
}

static void stop(void) {
    for (int i = 0; i < SI__LUA_COPIES; i++) si__hook_remove(&si__lua_host_hooks[i]);
}

const si__collector si__collector_lua_vm = {.name = "lua", .title = "Lua", .start = start, .stop = stop};
