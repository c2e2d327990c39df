/* The owner page and the fork handlers: see fork.h. Handlers run on the host thread that forks. */
#include "fork.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

static si__owner owner_of_nothing;
_Atomic(si__owner *) si__owner_now = &owner_of_nothing;

static _Atomic(const si__fork_steps *) steps_now;

int si__owner_setup(void) {
    int saved = errno;
    if (si__owner_get() == &owner_of_nothing) {
        void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED) {
            errno = saved;
            return -1;
        }
        /* Kernels before 4.14 do not know it: then the fork handlers alone make a child inert. */
        madvise(page, 4096, MADV_WIPEONFORK);
        atomic_store_explicit(&si__owner_now, page, memory_order_release);
    }
    si__owner_renew();
    errno = saved;
    return 0;
}

void si__owner_renew(void) {
    atomic_store_explicit(&si__owner_get()->alive, 1, memory_order_relaxed);
}

static void prepare(void) {
    const si__fork_steps *steps = atomic_load_explicit(&steps_now, memory_order_acquire);
    if (steps && steps->prepare && si__owner_get()->alive) steps->prepare();
}

static void parent(void) {
    const si__fork_steps *steps = atomic_load_explicit(&steps_now, memory_order_acquire);
    if (steps && steps->parent && si__owner_get()->alive) steps->parent();
}

static void child(void) {
    const si__fork_steps *steps = atomic_load_explicit(&steps_now, memory_order_acquire);
    si__owner *owner = si__owner_get();
    atomic_store_explicit(&owner->region, NULL, memory_order_relaxed);
    atomic_store_explicit(&owner->made, NULL, memory_order_relaxed);
    atomic_store_explicit(&owner->alive, 0, memory_order_relaxed);
    if (steps && steps->child) steps->child();
}

void si__fork_watch(const si__fork_steps *steps) {
    static atomic_flag registered = ATOMIC_FLAG_INIT;
    atomic_store_explicit(&steps_now, steps, memory_order_release);
    if (!atomic_flag_test_and_set(&registered)) pthread_atfork(prepare, parent, child);
}
