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
enum {
    SI__DESCRIPTOR_KIND = 7,    /* bits of what is remembered: si__wait_category + 1; 0: not known */
    SI__DESCRIPTOR_INSTANT = 8, /* O_NONBLOCK: reading and writing never wait */
    SI__DESCRIPTOR_SEEN = 16,   /* not known yet: calls so far, in this unit */
    SI__DESCRIPTOR_ASK_AT = 48  /* who lives for a call or two is not asked about */
};
extern _Atomic uint8_t si__descriptor_kinds[SI__DESCRIPTORS_REMEMBERED];

/* si__wait_category of a file with this mode; `target`: what /proc/self/fd/N links to, for what has no mode. Pure. */
int si__descriptor_kind_of(mode_t mode, const char *target);

/* Asks the kernel, and remembers. errno is kept. Two system calls at most; none when they are forbidden. */
int si__descriptor_kind_ask(int fd);

/* The remembered answer; asks when there is none. */
static inline int si__descriptor_kind(int fd) {
    if ((unsigned)fd >= SI__DESCRIPTORS_REMEMBERED) return SI__WAIT_NETWORK; /* who has so many has sockets */
    int known = atomic_load_explicit(&si__descriptor_kinds[fd], memory_order_relaxed);
    int kind = known & SI__DESCRIPTOR_KIND;
    return __builtin_expect(kind != 0, 1) ? kind - 1 : si__descriptor_kind_ask(fd);
}

/* 1: a read or write of it returns at once, as was found when it was asked about. */
static inline int si__descriptor_is_instant(int fd) {
    return (unsigned)fd < SI__DESCRIPTORS_REMEMBERED &&
           (atomic_load_explicit(&si__descriptor_kinds[fd], memory_order_relaxed) & SI__DESCRIPTOR_INSTANT) != 0;
}

/* A call on a descriptor whose kind nobody needs to know: from the third on, it is worth asking whether it can wait. */
static inline void si__descriptor_seen(int fd) {
    if ((unsigned)fd >= SI__DESCRIPTORS_REMEMBERED) return;
    unsigned known = atomic_load_explicit(&si__descriptor_kinds[fd], memory_order_relaxed);
    if (known & SI__DESCRIPTOR_KIND) return;
    if (known >= SI__DESCRIPTOR_ASK_AT)
        si__descriptor_kind_ask(fd);
    else
        atomic_store_explicit(&si__descriptor_kinds[fd], (uint8_t)(known + SI__DESCRIPTOR_SEEN), memory_order_relaxed);
}

/* The number will stand for something else. */
static inline void si__descriptor_forget(int fd) {
    if ((unsigned)fd < SI__DESCRIPTORS_REMEMBERED &&
        atomic_load_explicit(&si__descriptor_kinds[fd], memory_order_relaxed) != 0)
        atomic_store_explicit(&si__descriptor_kinds[fd], 0, memory_order_relaxed);
}

#endif
