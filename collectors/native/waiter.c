/* What wrappers of waiting calls share, off the fast path: see waiter.h. Host threads, also their signal handlers. */
#include "waiter.h"

#include <elf.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "record.h"
#include "return_path.h"
#include "sandbox.h"
#include "thread.h"

__thread si__waiter si__waiter_self __attribute__((tls_model("initial-exec")));

/* A process that had no need of a region yet gets one after a wait as long as this. */
#define WORTH_A_REGION_NS 5000000u

/* This library's own image, from the linker. */
extern const Elf64_Ehdr own_image __asm__("__ehdr_start") __attribute__((visibility("hidden")));

/* Preloaded, our own calls to libc come by our wrappers, too. Asked for waits that are about to be recorded only. */
static int is_own(const void *caller) {
    if (!si__probe_is_preloaded()) return 0;
    uintptr_t at = (uintptr_t)caller - (uintptr_t)&own_image;
    const Elf64_Phdr *part = (const void *)((const char *)&own_image + own_image.e_phoff);
    for (int i = 0; i < own_image.e_phnum; i++, part++)
        if (part->p_type == PT_LOAD && at - part->p_vaddr < part->p_memsz) return 1;
    return 0;
}

/* A vfork child runs on its parent's thread record. Asked before anything is made or written, not on the fast path. */
static int is_this_thread(int32_t tid) {
    return si__sandboxed() || tid == (int32_t)syscall(SYS_gettid);
}

static void thread_ends(void) {
    si__waiter_self.ended = si__owner_region();
}

void si__waiter_prepare(void) {
    si__return_path_choose();
    si__threads_at_end(thread_ends);
}

void si__waiter_stop(const si__hook_table *table, int *installed) {
    if (*installed) si__hook_remove(table);
    *installed = 0;
}

void si__waiter_retune(const si__hook_table *table, int *installed) {
    const si__region *region = si__probe_region();
    if (si__probe_is_preloaded()) return;
    int wanted = region && atomic_load_explicit(&region->control.wait_ns, memory_order_relaxed) != 0;
    if (wanted && !*installed) *installed = si__hook_install(table) == 0;
    if (!wanted) si__waiter_stop(table, installed);
}

si__waiter *si__waiter_find(si__region *region) {
    si__waiter *self = &si__waiter_self;
    si__thread *thread = si__thread_self();
    if (self->ended == region) return NULL; /* these are its last destructors: no slot is claimed for them */
    si__slot *slot = thread ? thread->slot : si__thread_slot();
    if (!slot || atomic_load_explicit(&slot->state, memory_order_relaxed) != SI__SLOT_LIVE) return NULL;
    uint32_t index = (uint32_t)(slot - si__region_slot(region, 0));
    self->slot = slot;
    self->tid = atomic_load_explicit(&slot->tid, memory_order_relaxed);
    self->owner = si__waiter_owner(slot);
    self->tallies = si__region_tallies(region, index);
    self->now = si__region_wait(region, index);
    self->resolver = 0;
    self->before = si__cycle_first;
    atomic_store_explicit(&self->now->call, SI__CALL_NONE, memory_order_relaxed);
    atomic_store_explicit(&self->now->tid, self->tid, memory_order_relaxed);
    self->region = region;
    return self;
}

/* Nanoseconds of a cycle in the time around a wait that has just ended. Now and then that time begins anew. */
static double cycle_length_ns(si__waiter *self) {
    enum { RENEW_NS = 100000000 };
    int source = atomic_load_explicit(&si__cycle_source_now, memory_order_relaxed);
    if (source != SI__CYCLES_COUNTER) return 1;
    si__cycle_moment now = si__cycle_moment_now(SI__CYCLES_COUNTER);
    double length_ns = si__cycle_length_ns(&self->before, &now);
    if (length_ns <= 0 || now.ns - self->before.ns > RENEW_NS) self->before = now;
    return length_ns;
}

static void record(const si__wait *wait, unsigned category, const si__weight *weight, double length_ns) {
    si__waiter *self = wait->waiter;
    const si__wait_text text = {atomic_load_explicit(&self->now->sequence, memory_order_relaxed), wait->call};
    const si__record record = {.type = SI__EVENT_WAIT,
                               .detail = category,
                               .count = weight->calls,
                               .value = (int64_t)((double)weight->quantity * length_ns + 0.5),
                               .leaf = si__name_get(si__wait_call_name(wait->call), "", 0),
                               .caller = wait->caller,
                               .text = &text,
                               .text_bytes = sizeof text};
    si__record_here(&record);
}

void si__waiter_sample(const si__wait *wait, unsigned sampled, unsigned category, uint64_t end) {
    si__waiter *self = wait->waiter;
    si__poisson *poisson = &self->poisson[sampled];
    uint64_t mean_ns = atomic_load_explicit(&self->region->control.wait_ns, memory_order_relaxed);
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (mean_ns == 0 || end <= wait->start) return;
    int saved = errno;
    if (!is_this_thread(self->tid)) goto done;
    double length_ns = cycle_length_ns(self);
    si__weight weight;
    if (length_ns > 0 &&
        si__poisson_weight(poisson, end - wait->start, (uint64_t)((double)mean_ns / length_ns) + 1, &weight) &&
        here >= self->resolver && !is_own(wait->caller))
        record(wait, category, &weight, length_ns);
done:
    errno = saved;
}

void si__wait_begin(si__wait *wait, si__wait_call call, uint64_t object, const void *caller) {
    wait->call = call;
    wait->object = object;
    wait->caller = caller;
    wait->start = 0;
    if (!wait->waiter && (!si__probe_is_preloaded() || si__owner_region())) return; /* off, or not observed */
    wait->start = si__cycles();
    if (wait->waiter) si__waiter_publish(wait->waiter, call, wait->start, object, caller);
}

/* A wait of a process that had no region when it began, and gets one now if it was long. */
static void begin_late(si__wait *wait, unsigned category, uint64_t end) {
    int source = atomic_load_explicit(&si__cycle_source_now, memory_order_relaxed);
    si__cycle_moment now = si__cycle_moment_now((si__cycle_source)source);
    double length_ns = si__cycle_length_ns(&si__cycle_first, &now);
    if (end <= wait->start || (double)(end - wait->start) * length_ns < WORTH_A_REGION_NS) return;
    const si__thread *thread = si__thread_self();
    if (thread && !si__sandboxed() && is_this_thread(thread->tid) && si__probe_region_needed())
        wait->waiter = si__waiter_get();
    if (wait->waiter) si__waiter_count(wait->waiter, category);
}

void si__wait_end(si__wait *wait, unsigned category) {
    if (wait->start == 0) return;
    int saved = errno;
    if (wait->waiter && !si__waiter_unpublish(wait->waiter)) return;
    uint64_t end = si__cycles();
    if (!wait->waiter) begin_late(wait, category, end);
    if (wait->waiter && si__waiter_hit(wait->waiter, category, end - wait->start))
        si__waiter_sample(wait, category, category, end);
    errno = saved;
}
