/*
 * The calls whose waiting is measured: their numbers, names and categories, and what a thread waits in right now.
 *
 * The probe's side (native/waiter.h) and the reader's side (the runtime, also of another process) both include this.
 * A number is part of the region's layout: new calls are added at the end, none is taken away.
 */
#ifndef SI_NATIVE_WAIT_CALL_H
#define SI_NATIVE_WAIT_CALL_H

#include "region.h"

/* Calls whose category is that of the descriptor they are given: socket, file or terminal, pipe or event counter. */
enum { SI__WAIT_BY_DESCRIPTOR = SI__WAIT_CATEGORIES };

/* name, category. Variants of a call (64-bit offsets, checked by the compiler) share its number. */
#define SI__WAIT_CALLS(X)                                                                                              \
    X(pthread_mutex_lock, SI__WAIT_LOCK)                                                                               \
    X(pthread_mutex_timedlock, SI__WAIT_LOCK)                                                                          \
    X(pthread_mutex_clocklock, SI__WAIT_LOCK)                                                                          \
    X(pthread_rwlock_rdlock, SI__WAIT_LOCK)                                                                            \
    X(pthread_rwlock_timedrdlock, SI__WAIT_LOCK)                                                                       \
    X(pthread_rwlock_clockrdlock, SI__WAIT_LOCK)                                                                       \
    X(pthread_rwlock_wrlock, SI__WAIT_LOCK)                                                                            \
    X(pthread_rwlock_timedwrlock, SI__WAIT_LOCK)                                                                       \
    X(pthread_rwlock_clockwrlock, SI__WAIT_LOCK)                                                                       \
    X(pthread_cond_wait, SI__WAIT_LOCK)                                                                                \
    X(pthread_cond_timedwait, SI__WAIT_LOCK)                                                                           \
    X(pthread_cond_clockwait, SI__WAIT_LOCK)                                                                           \
    X(pthread_join, SI__WAIT_LOCK)                                                                                     \
    X(pthread_timedjoin_np, SI__WAIT_LOCK)                                                                             \
    X(pthread_clockjoin_np, SI__WAIT_LOCK)                                                                             \
    X(pthread_barrier_wait, SI__WAIT_LOCK)                                                                             \
    X(mtx_lock, SI__WAIT_LOCK)                                                                                         \
    X(mtx_timedlock, SI__WAIT_LOCK)                                                                                    \
    X(cnd_wait, SI__WAIT_LOCK)                                                                                         \
    X(cnd_timedwait, SI__WAIT_LOCK)                                                                                    \
    X(thrd_join, SI__WAIT_LOCK)                                                                                        \
    X(sem_wait, SI__WAIT_CHANNEL)                                                                                      \
    X(sem_timedwait, SI__WAIT_CHANNEL)                                                                                 \
    X(sem_clockwait, SI__WAIT_CHANNEL)                                                                                 \
    X(read, SI__WAIT_BY_DESCRIPTOR)                                                                                    \
    X(write, SI__WAIT_BY_DESCRIPTOR)                                                                                   \
    X(readv, SI__WAIT_BY_DESCRIPTOR)                                                                                   \
    X(writev, SI__WAIT_BY_DESCRIPTOR)                                                                                  \
    X(pread, SI__WAIT_SYSTEM)                                                                                          \
    X(pwrite, SI__WAIT_SYSTEM)                                                                                         \
    X(preadv, SI__WAIT_SYSTEM)                                                                                         \
    X(pwritev, SI__WAIT_SYSTEM)                                                                                        \
    X(preadv2, SI__WAIT_BY_DESCRIPTOR)                                                                                 \
    X(pwritev2, SI__WAIT_BY_DESCRIPTOR)                                                                                \
    X(send, SI__WAIT_NETWORK)                                                                                          \
    X(recv, SI__WAIT_NETWORK)                                                                                          \
    X(sendto, SI__WAIT_NETWORK)                                                                                        \
    X(recvfrom, SI__WAIT_NETWORK)                                                                                      \
    X(sendmsg, SI__WAIT_NETWORK)                                                                                       \
    X(recvmsg, SI__WAIT_NETWORK)                                                                                       \
    X(sendmmsg, SI__WAIT_NETWORK)                                                                                      \
    X(recvmmsg, SI__WAIT_NETWORK)                                                                                      \
    X(connect, SI__WAIT_NETWORK)                                                                                       \
    X(accept, SI__WAIT_NETWORK)                                                                                        \
    X(accept4, SI__WAIT_NETWORK)                                                                                       \
    X(getaddrinfo, SI__WAIT_NETWORK)                                                                                   \
    X(poll, SI__WAIT_BY_DESCRIPTOR)                                                                                    \
    X(ppoll, SI__WAIT_BY_DESCRIPTOR)                                                                                   \
    X(select, SI__WAIT_BY_DESCRIPTOR)                                                                                  \
    X(pselect, SI__WAIT_BY_DESCRIPTOR)                                                                                 \
    X(epoll_wait, SI__WAIT_NETWORK)                                                                                    \
    X(epoll_pwait, SI__WAIT_NETWORK)                                                                                   \
    X(epoll_pwait2, SI__WAIT_NETWORK)                                                                                  \
    X(sendfile, SI__WAIT_BY_DESCRIPTOR)                                                                                \
    X(splice, SI__WAIT_BY_DESCRIPTOR)                                                                                  \
    X(fsync, SI__WAIT_SYSTEM)                                                                                          \
    X(fdatasync, SI__WAIT_SYSTEM)                                                                                      \
    X(sync_file_range, SI__WAIT_SYSTEM)                                                                                \
    X(msync, SI__WAIT_SYSTEM)                                                                                          \
    X(open, SI__WAIT_SYSTEM)                                                                                           \
    X(openat, SI__WAIT_SYSTEM)                                                                                         \
    X(creat, SI__WAIT_SYSTEM)                                                                                          \
    X(flock, SI__WAIT_SYSTEM)                                                                                          \
    X(fcntl, SI__WAIT_SYSTEM)                                                                                          \
    X(lockf, SI__WAIT_SYSTEM)                                                                                          \
    X(nanosleep, SI__WAIT_SYSTEM)                                                                                      \
    X(clock_nanosleep, SI__WAIT_SYSTEM)                                                                                \
    X(usleep, SI__WAIT_SYSTEM)                                                                                         \
    X(sleep, SI__WAIT_SYSTEM)                                                                                          \
    X(thrd_sleep, SI__WAIT_SYSTEM)                                                                                     \
    X(wait, SI__WAIT_SYSTEM)                                                                                           \
    X(waitpid, SI__WAIT_SYSTEM)                                                                                        \
    X(waitid, SI__WAIT_SYSTEM)                                                                                         \
    X(wait3, SI__WAIT_SYSTEM)                                                                                          \
    X(wait4, SI__WAIT_SYSTEM)                                                                                          \
    X(mq_send, SI__WAIT_CHANNEL)                                                                                       \
    X(mq_receive, SI__WAIT_CHANNEL)                                                                                    \
    X(mq_timedsend, SI__WAIT_CHANNEL)                                                                                  \
    X(mq_timedreceive, SI__WAIT_CHANNEL)                                                                               \
    X(msgsnd, SI__WAIT_CHANNEL)                                                                                        \
    X(msgrcv, SI__WAIT_CHANNEL)                                                                                        \
    X(eventfd_read, SI__WAIT_CHANNEL)                                                                                  \
    X(eventfd_write, SI__WAIT_CHANNEL)                                                                                 \
    X(futex, SI__WAIT_LOCK)                                                                                            \
    X(pause, SI__WAIT_SYSTEM)                                                                                          \
    X(sigsuspend, SI__WAIT_SYSTEM)

typedef enum si__wait_call {
    SI__CALL_NONE = 0,
#define X(name, category) SI__CALL_##name,
    SI__WAIT_CALLS(X)
#undef X
        SI__WAIT_CALL_COUNT
} si__wait_call;

/* The categories as constants: SI__CATEGORY_OF_read and so on. */
enum {
#define X(name, category) SI__CATEGORY_OF_##name = (int)(category),
    SI__WAIT_CALLS(X)
#undef X
};

/* "pthread_mutex_lock"; "?" for a number that is none. Static storage. */
const char *si__wait_call_name(uint32_t call);
/* si__wait_category or SI__WAIT_BY_DESCRIPTOR. */
int si__wait_call_category(uint32_t call);

/* The text of a SI__EVENT_WAIT. */
typedef struct si__wait_text {
    uint32_t sequence; /* of the wait that ended, as si__wait_now_read reported it while it lasted */
    uint32_t call;
} si__wait_text;

/* ---- The reader's side: what the threads of an observed process wait in right now ---- */

typedef struct si__waiting {
    const char *name;   /* "pthread_mutex_lock", static storage */
    uint32_t call;      /* si__wait_call */
    int category;       /* si__wait_category, or SI__WAIT_BY_DESCRIPTOR: ask si__wait_descriptor_category */
    uint32_t sequence;  /* the same at two readings: the same wait */
    int32_t tid;        /* who waits */
    uint64_t since_ns;  /* CLOCK_MONOTONIC of its start; two readings may differ by a microsecond */
    uint64_t caller_pc; /* return address in the host's function that called it */
    uint64_t object;    /* address of the lock, or the descriptor; 0: not known */
} si__waiting;

/* 1: slot `index` waits, *out says in what; 0: it does not, or it changed while we looked. `region` may be hostile:
   all that is stored in it is checked but the pc. Any thread of the reader. */
int si__wait_now_read(si__region *region, uint32_t index, si__waiting *out);

/* What si__waiting.object is of a poll or select: without any descriptor (it only lets time pass), or of several. */
#define SI__NO_DESCRIPTOR UINT64_MAX
#define SI__MANY_DESCRIPTORS (UINT64_MAX - 1)

/* What kind of thing descriptor `fd` of process `pid` is now; `root` prefixes /proc, "" for the real one.
   SI__WAIT_NETWORK when that cannot be told. Reader's thread, a few system calls. */
int si__wait_descriptor_category(const char *root, int32_t pid, uint64_t fd);

#endif
