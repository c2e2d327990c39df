/* Waits that have not ended yet: see waiting.h. */
#include "waiting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../collectors/native/probe.h"
#include "../collectors/native/wait_call.h"
#include "profile/frame_name.h"

enum { SHORTEST_NS = 1000000000 }; /* far above the sampling mean: the event at its end is as good as certain */

typedef struct reported { /* of the wait with that sequence */
    uint32_t sequence;
    uint64_t ns;
} reported;

struct si__waiting_threads {
    si__region *region;
    pid_t pid;
    reported slots[SI__SLOT_COUNT];
};

si__waiting_threads *si__waiting_new(si__region *region, pid_t pid) {
    si__waiting_threads *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->region = region;
    w->pid = pid;
    return w;
}

void si__waiting_free(si__waiting_threads *w) {
    free(w);
}

static uint32_t slots_used(const si__waiting_threads *w) {
    uint32_t used = atomic_load_explicit(&w->region->slots_used, memory_order_acquire);
    return used < SI__SLOT_COUNT ? used : SI__SLOT_COUNT;
}

/* What slot `index` waits in, if it has for long enough; the time that has passed. 0: it does not. */
static uint64_t passed_ns(const si__waiting_threads *w, uint32_t index, uint64_t now_ns, si__waiting *out) {
    const si__slot *slot = si__region_slot(w->region, index);
    if (atomic_load_explicit(&slot->state, memory_order_acquire) != SI__SLOT_LIVE) return 0;
    if (!si__wait_now_read(w->region, index, out) || out->since_ns > now_ns) return 0;
    if (now_ns - out->since_ns < SHORTEST_NS) return 0;
    return now_ns - out->since_ns;
}

static uint32_t category_of(const si__waiting_threads *w, const si__waiting *wait) {
    int category = wait->category;
    if (category == SI__WAIT_BY_DESCRIPTOR) category = si__wait_descriptor_category("", w->pid, wait->object);
    return category >= 0 && category < SI__WAIT_CATEGORIES ? (uint32_t)category : SI__WAIT_SYSTEM;
}

void si__waiting_report(si__waiting_threads *w, int in_progress, si__drain_event_fn fn, void *arg) {
    uint64_t now_ns = si__now_ns();
    for (uint32_t i = 0, used = slots_used(w); i < used; i++) {
        si__waiting wait;
        uint64_t passed = passed_ns(w, i, now_ns, &wait);
        reported *r = &w->slots[i];
        if (!passed) continue;
        if (r->sequence != wait.sequence) *r = (reported){wait.sequence, 0};
        const uint64_t pcs[] = {si__name_pc(si__frame_name_of_call(wait.call)), wait.caller_pc};
        const si__drained_event event = {.type = SI__EVENT_WAIT,
                                         .slot = i,
                                         .tid = wait.tid,
                                         .thread_name = "",
                                         .time_ns = now_ns,
                                         .value = (int64_t)passed,
                                         .count = !in_progress,
                                         .detail = category_of(w, &wait),
                                         .flags = SI__STACK_TRUNCATED,
                                         .frame_count = 2,
                                         .pcs = pcs,
                                         .text = "",
                                         .reported = (int64_t)r->ns,
                                         .in_progress = in_progress};
        fn(arg, &event);
        r->ns = passed;
    }
}

void si__waiting_ended(si__waiting_threads *w, si__drained_event *event) {
    si__wait_text text;
    if (event->slot >= SI__SLOT_COUNT || event->text_bytes < sizeof text) return;
    memcpy(&text, event->text, sizeof text);
    reported *r = &w->slots[event->slot];
    if (r->ns && r->sequence == text.sequence) event->reported = (int64_t)r->ns;
    if (event->reported > event->value) event->reported = event->value; /* by a reading of the clocks */
    r->ns = 0;
}

/* Calls in which a thread may rest for hours because there is nothing to do. */
static int waits_for_work(uint32_t call) {
    switch (call) {
    case SI__CALL_pthread_cond_wait:
    case SI__CALL_pthread_cond_timedwait:
    case SI__CALL_pthread_cond_clockwait:
    case SI__CALL_pthread_join:
    case SI__CALL_pthread_timedjoin_np:
    case SI__CALL_pthread_clockjoin_np:
    case SI__CALL_pthread_barrier_wait:
    case SI__CALL_cnd_wait:
    case SI__CALL_cnd_timedwait:
    case SI__CALL_thrd_join:
    case SI__CALL_poll:
    case SI__CALL_ppoll:
    case SI__CALL_select:
    case SI__CALL_pselect:
    case SI__CALL_epoll_wait:
    case SI__CALL_epoll_pwait:
    case SI__CALL_epoll_pwait2:
    case SI__CALL_accept:
    case SI__CALL_accept4:
    case SI__CALL_nanosleep:
    case SI__CALL_clock_nanosleep:
    case SI__CALL_usleep:
    case SI__CALL_sleep:
    case SI__CALL_wait:
    case SI__CALL_waitpid:
    case SI__CALL_waitid:
    case SI__CALL_wait3:
    case SI__CALL_wait4:
    case SI__CALL_futex: /* may be a lock, too: they look the same from outside */
    case SI__CALL_pause:
    case SI__CALL_sigsuspend:
        return 1;
    default:
        return 0;
    }
}

void si__waiting_stuck(si__waiting_threads *w, si__stuck *out) {
    uint64_t now_ns = si__now_ns();
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0, used = slots_used(w); i < used; i++) {
        si__waiting wait;
        uint64_t passed = passed_ns(w, i, now_ns, &wait);
        if (!passed || waits_for_work(wait.call)) continue;
        uint32_t category = category_of(w, &wait);
        double seconds = (double)passed / 1e9;
        if (seconds <= out->seconds[category]) continue;
        out->seconds[category] = seconds;
        if (category == SI__WAIT_LOCK)
            snprintf(out->words, sizeof out->words, "thread %d (%.15s) has waited %.0f s in %s", (int)wait.tid,
                     si__region_slot(w->region, i)->name, seconds, wait.name);
    }
}
