/*
 * Samples that wait for their Lua frames. A tick that finds the interpreter at work cannot look into it: the C stack is
 * kept, lua_sethook (which may be called by a signal handler) asks for a count hook at the next instruction, and there
 * the Lua frames are read and both are merged. No time is lost or counted twice: what cannot be merged is written as it
 * is.
 *
 * Host threads; the handler adds samples, the hook takes them out, and `busy` keeps the one out of the other.
 */
#include <errno.h>
#include <string.h>

#include "lua_vm.h"
#include "native/probe.h"
#include "native/thread.h"

static void hook(lua_State *L, lua_Debug *ar);

/* ---- The host's hook ---- */

/*
 * A hook of the host's for calls, returns or lines is called by ours meanwhile and put back afterwards. The host's
 * count hook is more trouble: whoever sets a hook begins the count anew, and a hook set a hundred times a second might
 * never come to the host's number. So ours stays, is called more often than the host's would be, and counts for it: the
 * host's comes after its number of instructions, give or take one part of it for every tick in between.
 */
enum { COUNT_PARTS = 64 };

static lua_host_hook *host_of(lua_attached *s, lua_State *L) {
    for (uint32_t i = 0; i < LUA_HOSTS; i++)
        if (s->hosts[i].L == L) return &s->hosts[i];
    return NULL;
}

static int is_running(const lua_attached *s, const lua_State *L) {
    for (uint32_t i = 0; i <= atomic_load_explicit(&s->depth, memory_order_relaxed); i++)
        if (s->running[i] == L) return 1;
    return 0;
}

/* A place for L; with none free, that of a coroutine that does not run, which may be gone for all we know. */
static lua_host_hook *place_for(lua_attached *s) {
    for (uint32_t i = 0; i < LUA_HOSTS; i++)
        if (!s->hosts[i].L) return &s->hosts[i];
    for (uint32_t i = 1; i <= LUA_HOSTS; i++) {
        lua_host_hook *host = &s->hosts[(s->host_last + i) % LUA_HOSTS];
        if (!is_running(s, host->L)) return host;
    }
    return &s->hosts[(s->host_last + 1) % LUA_HOSTS];
}

/* What the host has on L. A coroutine inherits hooks from its creator: ours may be on one that it was not set on. */
static lua_host_hook *note_host(lua_attached *s, lua_State *L) {
    const lua_library *l = s->library;
    lua_Hook now = l->lua_gethook(L);
    lua_host_hook *host = host_of(s, L), last = s->hosts[s->host_last];
    if (now == hook && host) return host;
    if (!host) host = place_for(s);
    s->host_last = (uint32_t)(host - s->hosts);
    if (now == hook) {
        *host = last;
    } else {
        host->call = now;
        host->mask = now ? l->lua_gethookmask(L) : 0;
        host->count = now ? l->lua_gethookcount(L) : 0;
        host->left = host->count;
    }
    host->chunk = 0;
    host->L = L;
    return host;
}

static int is_mediated(const lua_host_hook *host) {
    return host->call && (host->mask & LUA_MASKCOUNT) && host->count > 0;
}

static void ask(lua_attached *s, lua_State *L) {
    lua_host_hook *host = note_host(s, L);
    host->left -= host->chunk / 2; /* of the part that is cut short here */
    host->chunk = 1;
    s->library->lua_sethook(L, hook, host->mask | LUA_MASKCOUNT, 1);
}

static void put_back(lua_attached *s, lua_State *L) {
    const lua_library *l = s->library;
    lua_host_hook *host = host_of(s, L);
    if (!host || l->lua_gethook(L) != hook) return; /* the host has set one meanwhile */
    if (is_mediated(host)) {
        host->chunk = host->count / COUNT_PARTS + 1;
        /* Setting a hook goes through all frames of the coroutine: only after a tick. */
        if (l->lua_gethookcount(L) != host->chunk || l->lua_gethookmask(L) != host->mask)
            l->lua_sethook(L, hook, host->mask, host->chunk);
        return;
    }
    host->L = NULL; /* the rest stays, for a coroutine that has inherited our hook */
    l->lua_sethook(L, host->call, host->mask, host->count);
}

void si__lua_unhook(lua_thread *t) {
    if (t->hooked) put_back(t->hooked_state, t->hooked);
    t->hooked = NULL;
}

void si__lua_unhook_all(lua_attached *s) {
    const lua_library *l = s->library;
    for (uint32_t i = 0; i <= atomic_load_explicit(&s->depth, memory_order_relaxed); i++) {
        lua_State *L = s->running[i];
        lua_host_hook *host = host_of(s, L);
        if (host && l->lua_gethook(L) == hook) l->lua_sethook(L, host->call, host->mask, host->count);
    }
}

/* ---- Waiting ---- */

/* A long call into Lua's core is found in few places, again and again: the same stack once more counts there. */
static int joins_another(lua_thread *t, const si__interpreted *sample) {
    const si__event *event = sample->event;
    if (sample->type != SI__EVENT_CPU) return 0;
    for (uint32_t at = 0; at < t->waiting_bytes;) {
        lua_waiting *w = (void *)(t->waiting + at);
        if (w->type == SI__EVENT_CPU && w->frames == event->frame_count &&
            memcmp(w + 1, si__event_pcs(sample->event), w->frames * 8u) == 0) {
            w->value += event->value;
            w->count += event->count;
            return 1;
        }
        at += w->bytes;
    }
    return 0;
}

static int add(lua_thread *t, const si__interpreted *sample) {
    const si__event *event = sample->event;
    uint32_t bytes = (uint32_t)(sizeof(lua_waiting) + event->frame_count * 8u + ((sample->text_bytes + 7) & ~7u));
    if (bytes > LUA_WAITING_BYTES - t->waiting_bytes) return 0;
    char *at = t->waiting + t->waiting_bytes;
    lua_waiting waiting = {.time_ns = event->time_ns,
                           .value = event->value,
                           .type = sample->type,
                           .count = event->count,
                           .detail = event->detail,
                           .text_bytes = sample->text_bytes,
                           .flags = event->flags,
                           .frames = event->frame_count,
                           .bytes = bytes};
    memcpy(at, &waiting, sizeof waiting);
    memcpy(at + sizeof waiting, si__event_pcs(sample->event), event->frame_count * 8u);
    if (sample->text_bytes) memcpy(at + sizeof waiting + event->frame_count * 8u, sample->text, sample->text_bytes);
    t->waiting_bytes += bytes;
    return 1;
}

int si__lua_wait(lua_thread *t, lua_attached *s, const si__interpreted *sample) {
    lua_Debug deep;
    /* lua_sethook goes through all of the coroutine's frames, and this as safely. */
    if (s->library->lua_getstack(lua_current(s), LUA_DEEP, &deep)) return 0;
    if (!joins_another(t, sample) && !add(t, sample)) return 0;
    lua_State *L = lua_current(s);
    if (t->hooked && t->hooked != L) si__lua_unhook(t);
    ask(s, L); /* again, too: a tick in the middle of Lua's own counting down makes it miss the 1 */
    t->hooked = L;
    t->hooked_state = s;
    return 1;
}

/* ---- Writing ---- */

static void write_one(lua_thread *t, const lua_attached *s, const lua_waiting *w, const char *rest, unsigned loops) {
    si__event *event = si__ring_reserve(t->slot, SI__FRAMES_MAX, w->text_bytes);
    if (!event) return; /* counted as dropped */
    uint64_t *pcs = si__event_pcs(event);
    unsigned flags = w->flags, frames = w->frames;
    memcpy(pcs, rest, frames * 8u);
    if (s) {
        lua_shape shape = si__lua_shape(s->library, pcs, frames);
        int skip = loops && !(flags & SI__STACK_TRUNCATED) ? (int)loops - (int)shape.loops : 0;
        frames = si__lua_merge(t, s->library, pcs, frames, skip, &flags);
    }
    event->frame_count = (uint16_t)frames;
    event->time_ns = w->time_ns;
    event->value = w->value;
    event->count = w->count;
    event->detail = w->detail;
    event->flags = (uint16_t)flags;
    if (w->text_bytes) memcpy(si__event_text(event), rest + w->frames * 8u, w->text_bytes);
    si__ring_trim(t->slot, event, SI__FRAMES_MAX, w->text_bytes);
    si__ring_commit(event, (si__event_type)w->type);
}

/* loops: activations when the frames were collected; 0: every sample's own stack says it. Of a stack too deep for the
   walk only the leaf is known: there, nothing but the leaf is matched. */
static void write_all(lua_thread *t, const lua_attached *s, unsigned loops) {
    uint32_t at = 0;
    while (at < t->waiting_bytes) {
        lua_waiting w;
        memcpy(&w, t->waiting + at, sizeof w);
        const char *rest = t->waiting + at + sizeof w;
        if (s && loops == 0) {
            memcpy(t->structure, rest, w.frames * 8u);
            si__lua_collect(t, s, t->structure, w.frames);
        }
        write_one(t, s, &w, rest, loops);
        at += w.bytes;
    }
    t->waiting_bytes = 0;
}

void si__lua_write_raw(lua_thread *t) {
    if (si__probe_region() == t->region) write_all(t, NULL, 0);
    t->waiting_bytes = 0;
}

unsigned si__lua_walk_here(lua_thread *t, unsigned *flags) {
    si__regs regs;
    uint64_t hi, lo;
    *flags = 0;
    if (!t->slot || si__probe_region() != t->region) return 0;
    si__regs_here(&regs);
    lo = si__thread_stack(t->slot, &hi);
    if (hi == 0 || regs.sp < lo || regs.sp >= hi) return 0;
    return si__unwind(t->region, t->slot, &regs, lo, hi, t->structure, SI__FRAMES_MAX, flags);
}

void si__lua_settle(lua_thread *t, lua_attached *s, int own) {
    if (t->waiting_bytes == 0) return;
    int saved = errno;
    if (si__probe_region() != t->region) {
        t->waiting_bytes = 0; /* of a region that was closed, or of a parent */
    } else if (own) {
        write_all(t, s, 0);
    } else {
        unsigned flags, frames = si__lua_walk_here(t, &flags);
        lua_shape shape = si__lua_shape(s->library, t->structure, frames);
        if (shape.loops && si__lua_fits(s, &shape, flags)) {
            si__lua_collect(t, s, t->structure, frames);
            write_all(t, s, flags & SI__STACK_TRUNCATED ? 0 : shape.loops);
        } else {
            si__lua_write_raw(t);
        }
    }
    errno = saved;
}

/* ---- The hook ---- */

/* An instruction count is over: that of a waiting sample, or one part of the host's. Returns 1 when the host's is. */
static int count_event(lua_thread *t, lua_attached *s, lua_State *L, lua_host_hook *host) {
    int due = 0;
    uint32_t was = atomic_exchange_explicit(&t->busy, 1, memory_order_acquire);
    atomic_signal_fence(memory_order_seq_cst);
    if (t->hooked == L && !was) {
        si__lua_settle(t, s, 0);
        t->hooked = NULL;
    }
    if (is_mediated(host)) {
        host->left -= host->chunk;
        due = host->left <= 0;
        if (due) host->left += host->count;
        if (host->left <= 0) host->left = host->count;
    }
    put_back(s, L);
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&t->busy, was, memory_order_release);
    return due;
}

static void hook(lua_State *L, lua_Debug *ar) {
    lua_library *library = si__lua_library_around(__builtin_return_address(0));
    lua_thread *t = si__lua_here;
    lua_attached *s = library && t ? si__lua_state_of(library, L) : NULL;
    if (!s) { /* detached meanwhile, or moved to another thread */
        if (library) library->lua_sethook(L, NULL, 0, 0);
        return;
    }
    lua_host_hook *host = note_host(s, L);
    lua_Hook call = host->call; /* it may raise an error or set another hook: nothing of ours is touched after it */
    if (ar->event != LUA_HOOKCOUNT || count_event(t, s, L, host))
        if (call) call(L, ar);
}
