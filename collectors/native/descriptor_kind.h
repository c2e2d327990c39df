/*
 * What a descriptor is, as far as waiting for it is concerned: a socket (network), a pipe or an event counter
 * (channel), anything else (system).
 *
 * Asked of the kernel only for waits that are long enough to be seen. The exact counts of calls want an answer every
 * time: those go by a remembered one, which is asked for again after close() and now and then.
 */
#ifndef SI_NATIVE_DESCRIPTOR_KIND_H
#define SI_NATIVE_DESCRIPTOR_KIND_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "region.h"

enum { SI__DESCRIPTORS_REMEMBERED = 65536 };
extern _Atomic uint8_t si__descriptor_kinds[SI__DESCRIPTORS_REMEMBERED]; /* si__wait_category + 1; 0: not known */

/* si__wait_category of a file with this mode; `target`: what /proc/self/fd/N links to, for what has no mode. Pure. */
int si__descriptor_kind_of(mode_t mode, const char *target);

/* Asks the kernel, and remembers. errno is kept. Two system calls at most; none when they are forbidden. */
int si__descriptor_kind_ask(int fd);

/* The remembered answer; asks when there is none. */
static inline int si__descriptor_kind(int fd) {
    if ((unsigned)fd >= SI__DESCRIPTORS_REMEMBERED) return SI__WAIT_NETWORK; /* who has so many has sockets */
    int known = atomic_load_explicit(&si__descriptor_kinds[fd], memory_order_relaxed);
    return __builtin_expect(known != 0, 1) ? known - 1 : si__descriptor_kind_ask(fd);
}

/* The number will stand for something else. */
static inline void si__descriptor_forget(int fd) {
    if ((unsigned)fd < SI__DESCRIPTORS_REMEMBERED &&
        atomic_load_explicit(&si__descriptor_kinds[fd], memory_order_relaxed) != 0)
        atomic_store_explicit(&si__descriptor_kinds[fd], 0, memory_order_relaxed);
}

#endif
