/*
 * The functions of libc that are hooked for waits, as lists: the wrappers of most are made from their line here, and so
 * are the real functions' table, the hook tables (lock.c, wait.c) and the exports of libsi-probe.so (preload_lock.c,
 * preload_wait.c). A line says: name, number in native/wait_call.h, what it waits for, result, parameters, arguments.
 *
 * futex, which is called through syscall(), is in wait_futex.c. Not here, since they are no functions that a program
 * imports: what libc calls within itself (stdio), what is linked statically.
 */
#ifndef SI_WAIT_HOOKS_H
#define SI_WAIT_HOOKS_H

#include <fcntl.h>
#include <mqueue.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

/* What the compiler calls in place of the plain functions when _FORTIFY_SOURCE is on, and what no header declares. */
ssize_t __read_chk(int, void *, size_t, size_t);
ssize_t __pread_chk(int, void *, size_t, off_t, size_t);
ssize_t __pread64_chk(int, void *, size_t, off64_t, size_t);
ssize_t __recv_chk(int, void *, size_t, size_t, int);
ssize_t __recvfrom_chk(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);
int __poll_chk(struct pollfd *, nfds_t, int, size_t);
int __ppoll_chk(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *, size_t);
int __open_2(const char *, int);
int __open64_2(const char *, int);
int __openat_2(int, const char *, int);
int __openat64_2(int, const char *, int);
int fcntl64(int, int, ...);

/* ---- lock.c: tried first; what is free costs no clock. Also: the function that tries, and whether it may ---- */

#define SI__TRIED_CALLS(X)                                                                                             \
    X(pthread_mutex_lock, pthread_mutex_trylock, EBUSY, 1, mutex, (pthread_mutex_t * mutex), (mutex))                  \
    X(pthread_mutex_timedlock, pthread_mutex_trylock, EBUSY, is_time(until), mutex,                                    \
      (pthread_mutex_t * mutex, const struct timespec *until), (mutex, until))                                         \
    X(pthread_mutex_clocklock, pthread_mutex_trylock, EBUSY, is_clock(clock) && is_time(until), mutex,                 \
      (pthread_mutex_t * mutex, clockid_t clock, const struct timespec *until), (mutex, clock, until))                 \
    X(pthread_rwlock_rdlock, pthread_rwlock_tryrdlock, EBUSY, 1, lock, (pthread_rwlock_t * lock), (lock))              \
    X(pthread_rwlock_timedrdlock, pthread_rwlock_tryrdlock, EBUSY, is_time(until), lock,                               \
      (pthread_rwlock_t * lock, const struct timespec *until), (lock, until))                                          \
    X(pthread_rwlock_clockrdlock, pthread_rwlock_tryrdlock, EBUSY, is_clock(clock) && is_time(until), lock,            \
      (pthread_rwlock_t * lock, clockid_t clock, const struct timespec *until), (lock, clock, until))                  \
    X(pthread_rwlock_wrlock, pthread_rwlock_trywrlock, EBUSY, 1, lock, (pthread_rwlock_t * lock), (lock))              \
    X(pthread_rwlock_timedwrlock, pthread_rwlock_trywrlock, EBUSY, is_time(until), lock,                               \
      (pthread_rwlock_t * lock, const struct timespec *until), (lock, until))                                          \
    X(pthread_rwlock_clockwrlock, pthread_rwlock_trywrlock, EBUSY, is_clock(clock) && is_time(until), lock,            \
      (pthread_rwlock_t * lock, clockid_t clock, const struct timespec *until), (lock, clock, until))                  \
    X(mtx_lock, mtx_trylock, thrd_busy, 1, mutex, (mtx_t * mutex), (mutex))                                            \
    X(mtx_timedlock, mtx_trylock, thrd_busy, is_time(until), mutex, (mtx_t * mutex, const struct timespec *until),     \
      (mutex, until))

/* The same with errno in place of a returned error, and a cancellation point even when nobody waits. */
#define SI__SEMAPHORE_CALLS(X)                                                                                         \
    X(sem_wait, 1, (sem_t * semaphore), (semaphore))                                                                   \
    X(sem_timedwait, is_time(until), (sem_t * semaphore, const struct timespec *until), (semaphore, until))            \
    X(sem_clockwait, is_clock(clock) && is_time(until),                                                                \
      (sem_t * semaphore, clockid_t clock, const struct timespec *until), (semaphore, clock, until))

/* ---- Made in order to wait: timed exactly ---- */

#define SI__JOINING_CALLS(X)                                                                                           \
    X(pthread_cond_wait, pthread_cond_wait, condition, int, (pthread_cond_t * condition, pthread_mutex_t * mutex),     \
      (condition, mutex))                                                                                              \
    X(pthread_cond_timedwait, pthread_cond_timedwait, condition, int,                                                  \
      (pthread_cond_t * condition, pthread_mutex_t * mutex, const struct timespec *until), (condition, mutex, until))  \
    X(pthread_cond_clockwait, pthread_cond_clockwait, condition, int,                                                  \
      (pthread_cond_t * condition, pthread_mutex_t * mutex, clockid_t clock, const struct timespec *until),            \
      (condition, mutex, clock, until))                                                                                \
    X(pthread_join, pthread_join, thread, int, (pthread_t thread, void **value), (thread, value))                      \
    X(pthread_timedjoin_np, pthread_timedjoin_np, thread, int,                                                         \
      (pthread_t thread, void **value, const struct timespec *until), (thread, value, until))                          \
    X(pthread_clockjoin_np, pthread_clockjoin_np, thread, int,                                                         \
      (pthread_t thread, void **value, clockid_t clock, const struct timespec *until), (thread, value, clock, until))  \
    X(pthread_barrier_wait, pthread_barrier_wait, barrier, int, (pthread_barrier_t * barrier), (barrier))              \
    X(cnd_wait, cnd_wait, condition, int, (cnd_t * condition, mtx_t * mutex), (condition, mutex))                      \
    X(cnd_timedwait, cnd_timedwait, condition, int, (cnd_t * condition, mtx_t * mutex, const struct timespec *until),  \
      (condition, mutex, until))                                                                                       \
    X(thrd_join, thrd_join, thread, int, (thrd_t thread, int *value), (thread, value))

#define SI__WAITING_CALLS(X)                                                                                           \
    X(connect, connect, fd, int, (int fd, const struct sockaddr *to, socklen_t bytes), (fd, to, bytes))                \
    X(fsync, fsync, fd, int, (int fd), (fd))                                                                           \
    X(fdatasync, fdatasync, fd, int, (int fd), (fd))                                                                   \
    X(sync_file_range, sync_file_range, fd, int, (int fd, off64_t from, off64_t bytes, unsigned flags),                \
      (fd, from, bytes, flags))                                                                                        \
    X(msync, msync, at, int, (void *at, size_t bytes, int flags), (at, bytes, flags))                                  \
    X(flock, flock, fd, int, (int fd, int operation), (fd, operation))                                                 \
    X(lockf, lockf, fd, int, (int fd, int command, off_t bytes), (fd, command, bytes))                                 \
    X(lockf64, lockf, fd, int, (int fd, int command, off64_t bytes), (fd, command, bytes))                             \
    X(nanosleep, nanosleep, 0, int, (const struct timespec *time, struct timespec *left), (time, left))                \
    X(clock_nanosleep, clock_nanosleep, 0, int,                                                                        \
      (clockid_t clock, int flags, const struct timespec *time, struct timespec *left), (clock, flags, time, left))    \
    X(usleep, usleep, 0, int, (useconds_t time_us), (time_us))                                                         \
    X(sleep, sleep, 0, unsigned, (unsigned time_s), (time_s))                                                          \
    X(pause, pause, 0, int, (void), ())                                                                                \
    X(sigsuspend, sigsuspend, 0, int, (const sigset_t *mask), (mask))                                                  \
    X(thrd_sleep, thrd_sleep, 0, int, (const struct timespec *time, struct timespec *left), (time, left))              \
    X(wait, wait, 0, pid_t, (int *status), (status))                                                                   \
    X(waitpid, waitpid, child, pid_t, (pid_t child, int *status, int options), (child, status, options))               \
    X(waitid, waitid, id, int, (idtype_t type, id_t id, siginfo_t * info, int options), (type, id, info, options))     \
    X(wait3, wait3, 0, pid_t, (int *status, int options, struct rusage *usage), (status, options, usage))              \
    X(wait4, wait4, child, pid_t, (pid_t child, int *status, int options, struct rusage *usage),                       \
      (child, status, options, usage))                                                                                 \
    X(mq_send, mq_send, queue, int, (mqd_t queue, const char *text, size_t bytes, unsigned priority),                  \
      (queue, text, bytes, priority))                                                                                  \
    X(mq_receive, mq_receive, queue, ssize_t, (mqd_t queue, char *text, size_t bytes, unsigned *priority),             \
      (queue, text, bytes, priority))                                                                                  \
    X(mq_timedsend, mq_timedsend, queue, int,                                                                          \
      (mqd_t queue, const char *text, size_t bytes, unsigned priority, const struct timespec *until),                  \
      (queue, text, bytes, priority, until))                                                                           \
    X(mq_timedreceive, mq_timedreceive, queue, ssize_t,                                                                \
      (mqd_t queue, char *text, size_t bytes, unsigned *priority, const struct timespec *until),                       \
      (queue, text, bytes, priority, until))                                                                           \
    X(msgsnd, msgsnd, queue, int, (int queue, const void *text, size_t bytes, int flags), (queue, text, bytes, flags)) \
    X(msgrcv, msgrcv, queue, ssize_t, (int queue, void *text, size_t bytes, long type, int flags),                     \
      (queue, text, bytes, type, flags))

/* ---- wait_io.c: mostly do not wait: timed by the coarse clock. The third is the descriptor ---- */

#define SI__STREAM_CALLS(X)                                                                                            \
    X(read, read, fd, ssize_t, (int fd, void *to, size_t bytes), (fd, to, bytes))                                      \
    X(__read_chk, read, fd, ssize_t, (int fd, void *to, size_t bytes, size_t room), (fd, to, bytes, room))             \
    X(write, write, fd, ssize_t, (int fd, const void *from, size_t bytes), (fd, from, bytes))                          \
    X(readv, readv, fd, ssize_t, (int fd, const struct iovec *to, int count), (fd, to, count))                         \
    X(writev, writev, fd, ssize_t, (int fd, const struct iovec *from, int count), (fd, from, count))                   \
    X(pread, pread, fd, ssize_t, (int fd, void *to, size_t bytes, off_t at), (fd, to, bytes, at))                      \
    X(pread64, pread, fd, ssize_t, (int fd, void *to, size_t bytes, off64_t at), (fd, to, bytes, at))                  \
    X(__pread_chk, pread, fd, ssize_t, (int fd, void *to, size_t bytes, off_t at, size_t room),                        \
      (fd, to, bytes, at, room))                                                                                       \
    X(__pread64_chk, pread, fd, ssize_t, (int fd, void *to, size_t bytes, off64_t at, size_t room),                    \
      (fd, to, bytes, at, room))                                                                                       \
    X(pwrite, pwrite, fd, ssize_t, (int fd, const void *from, size_t bytes, off_t at), (fd, from, bytes, at))          \
    X(pwrite64, pwrite, fd, ssize_t, (int fd, const void *from, size_t bytes, off64_t at), (fd, from, bytes, at))      \
    X(preadv, preadv, fd, ssize_t, (int fd, const struct iovec *to, int count, off_t at), (fd, to, count, at))         \
    X(preadv64, preadv, fd, ssize_t, (int fd, const struct iovec *to, int count, off64_t at), (fd, to, count, at))     \
    X(pwritev, pwritev, fd, ssize_t, (int fd, const struct iovec *from, int count, off_t at), (fd, from, count, at))   \
    X(pwritev64, pwritev, fd, ssize_t, (int fd, const struct iovec *from, int count, off64_t at),                      \
      (fd, from, count, at))                                                                                           \
    X(preadv2, preadv2, fd, ssize_t, (int fd, const struct iovec *to, int count, off_t at, int flags),                 \
      (fd, to, count, at, flags))                                                                                      \
    X(preadv64v2, preadv2, fd, ssize_t, (int fd, const struct iovec *to, int count, off64_t at, int flags),            \
      (fd, to, count, at, flags))                                                                                      \
    X(pwritev2, pwritev2, fd, ssize_t, (int fd, const struct iovec *from, int count, off_t at, int flags),             \
      (fd, from, count, at, flags))                                                                                    \
    X(pwritev64v2, pwritev2, fd, ssize_t, (int fd, const struct iovec *from, int count, off64_t at, int flags),        \
      (fd, from, count, at, flags))                                                                                    \
    X(eventfd_read, eventfd_read, fd, int, (int fd, eventfd_t *value), (fd, value))                                    \
    X(eventfd_write, eventfd_write, fd, int, (int fd, eventfd_t value), (fd, value))                                   \
    X(sendfile, sendfile, out, ssize_t, (int out, int in, off_t *at, size_t bytes), (out, in, at, bytes))              \
    X(sendfile64, sendfile, out, ssize_t, (int out, int in, off64_t *at, size_t bytes), (out, in, at, bytes))          \
    X(splice, splice, in, ssize_t, (int in, off64_t *in_at, int out, off64_t *out_at, size_t bytes, unsigned flags),   \
      (in, in_at, out, out_at, bytes, flags))                                                                          \
    X(openat, openat, folder, int, (int folder, const char *path, int flags, mode_t mode),                             \
      (folder, path, flags, mode))                                                                                     \
    X(openat64, openat, folder, int, (int folder, const char *path, int flags, mode_t mode),                           \
      (folder, path, flags, mode))                                                                                     \
    X(__openat_2, openat, folder, int, (int folder, const char *path, int flags), (folder, path, flags))               \
    X(__openat64_2, openat, folder, int, (int folder, const char *path, int flags), (folder, path, flags))             \
    X(open, open, 0, int, (const char *path, int flags, mode_t mode), (path, flags, mode))                             \
    X(open64, open, 0, int, (const char *path, int flags, mode_t mode), (path, flags, mode))                           \
    X(__open_2, open, 0, int, (const char *path, int flags), (path, flags))                                            \
    X(__open64_2, open, 0, int, (const char *path, int flags), (path, flags))                                          \
    X(creat, creat, 0, int, (const char *path, mode_t mode), (path, mode))                                             \
    X(creat64, creat, 0, int, (const char *path, mode_t mode), (path, mode))

#define SI__SOCKET_CALLS(X)                                                                                            \
    X(send, send, fd, ssize_t, (int fd, const void *from, size_t bytes, int flags), (fd, from, bytes, flags))          \
    X(recv, recv, fd, ssize_t, (int fd, void *to, size_t bytes, int flags), (fd, to, bytes, flags))                    \
    X(__recv_chk, recv, fd, ssize_t, (int fd, void *to, size_t bytes, size_t room, int flags),                         \
      (fd, to, bytes, room, flags))                                                                                    \
    X(sendto, sendto, fd, ssize_t,                                                                                     \
      (int fd, const void *from, size_t bytes, int flags, const struct sockaddr *address, socklen_t length),           \
      (fd, from, bytes, flags, address, length))                                                                       \
    X(recvfrom, recvfrom, fd, ssize_t,                                                                                 \
      (int fd, void *to, size_t bytes, int flags, struct sockaddr *address, socklen_t *length),                        \
      (fd, to, bytes, flags, address, length))                                                                         \
    X(__recvfrom_chk, recvfrom, fd, ssize_t,                                                                           \
      (int fd, void *to, size_t bytes, size_t room, int flags, struct sockaddr *address, socklen_t *length),           \
      (fd, to, bytes, room, flags, address, length))                                                                   \
    X(sendmsg, sendmsg, fd, ssize_t, (int fd, const struct msghdr *message, int flags), (fd, message, flags))          \
    X(recvmsg, recvmsg, fd, ssize_t, (int fd, struct msghdr *message, int flags), (fd, message, flags))                \
    X(sendmmsg, sendmmsg, fd, int, (int fd, struct mmsghdr *messages, unsigned count, int flags),                      \
      (fd, messages, count, flags))                                                                                    \
    X(recvmmsg, recvmmsg, fd, int,                                                                                     \
      (int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *time),                            \
      (fd, messages, count, flags, time))                                                                              \
    X(accept, accept, fd, int, (int fd, struct sockaddr *from, socklen_t *bytes), (fd, from, bytes))                   \
    X(accept4, accept4, fd, int, (int fd, struct sockaddr *from, socklen_t *bytes, int flags), (fd, from, bytes, flags))

/* The same, on what waits for others. */
#define SI__EPOLL_CALLS(X)                                                                                             \
    X(epoll_wait, epoll_wait, fd, int, (int fd, struct epoll_event *events, int count, int time_ms),                   \
      (fd, events, count, time_ms))                                                                                    \
    X(epoll_pwait, epoll_pwait, fd, int,                                                                               \
      (int fd, struct epoll_event *events, int count, int time_ms, const sigset_t *mask),                              \
      (fd, events, count, time_ms, mask))                                                                              \
    X(epoll_pwait2, epoll_pwait2, fd, int,                                                                             \
      (int fd, struct epoll_event *events, int count, const struct timespec *time, const sigset_t *mask),              \
      (fd, events, count, time, mask))

/* ---- wait_poll.c and wait.c: each its own way ---- */

#define SI__POLL_CALLS(X)                                                                                              \
    X(poll, poll, 0, int, (struct pollfd * fds, nfds_t count, int time_ms), (fds, count, time_ms))                     \
    X(__poll_chk, poll, 0, int, (struct pollfd * fds, nfds_t count, int time_ms, size_t room),                         \
      (fds, count, time_ms, room))                                                                                     \
    X(ppoll, ppoll, 0, int, (struct pollfd * fds, nfds_t count, const struct timespec *time, const sigset_t *mask),    \
      (fds, count, time, mask))                                                                                        \
    X(__ppoll_chk, ppoll, 0, int,                                                                                      \
      (struct pollfd * fds, nfds_t count, const struct timespec *time, const sigset_t *mask, size_t room),             \
      (fds, count, time, mask, room))

#define SI__SELECT_CALLS(X)                                                                                            \
    X(select, select, 0, int, (int count, fd_set *readable, fd_set *writable, fd_set *special, struct timeval *time),  \
      (count, readable, writable, special, time))                                                                      \
    X(pselect, pselect, 0, int,                                                                                        \
      (int count, fd_set *readable, fd_set *writable, fd_set *special, const struct timespec *time,                    \
       const sigset_t *mask),                                                                                          \
      (count, readable, writable, special, time, mask))

#define SI__LOCKING_CALLS(X)                                                                                           \
    X(fcntl, fcntl, fd, int, (int fd, int command, unsigned long argument), (fd, command, argument))                   \
    X(fcntl64, fcntl, fd, int, (int fd, int command, unsigned long argument), (fd, command, argument))

#define SI__OTHER_CALLS(X)                                                                                             \
    X(getaddrinfo, getaddrinfo, 0, int,                                                                                \
      (const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out),                    \
      (host, service, hints, out))                                                                                     \
    X(close, close, fd, int, (int fd), (fd))

/* All of wait.c's table. */
#define SI__WAIT_HOOKED(X)                                                                                             \
    SI__WAITING_CALLS(X)                                                                                               \
    SI__STREAM_CALLS(X)                                                                                                \
    SI__SOCKET_CALLS(X) SI__EPOLL_CALLS(X) SI__POLL_CALLS(X) SI__SELECT_CALLS(X) SI__LOCKING_CALLS(X) SI__OTHER_CALLS(X)

/* Called by the wrappers, not hooked. */
#define SI__TRY_CALLS(X)                                                                                               \
    X(pthread_mutex_trylock)                                                                                           \
    X(pthread_rwlock_tryrdlock) X(pthread_rwlock_trywrlock) X(mtx_trylock) X(sem_trywait)

/* ---- The real functions: wrappers call them here, never by name ---- */

typedef struct si__wait_libc {
#define R(name) __typeof__(&name) name;
#define X(name, try, busy, usable, object, parameters, arguments) R(name)
    SI__TRIED_CALLS(X)
#undef X
#define X(name, usable, parameters, arguments) R(name)
    SI__SEMAPHORE_CALLS(X)
#undef X
#define X(name, call, object, result, parameters, arguments) R(name)
    SI__JOINING_CALLS(X)
    SI__WAIT_HOOKED(X)
#undef X
    SI__TRY_CALLS(R)
#undef R
} si__wait_libc;
extern si__wait_libc si__wait_real;

/* ---- What stands in front of them: behaves as the real one. Any host thread, signal handlers too ---- */

#define X(name, try, busy, usable, object, parameters, arguments) int si__wrap_##name parameters;
SI__TRIED_CALLS(X)
#undef X
#define X(name, usable, parameters, arguments) int si__wrap_##name parameters;
SI__SEMAPHORE_CALLS(X)
#undef X
#define X(name, call, object, result, parameters, arguments) result si__wrap_##name parameters;
SI__JOINING_CALLS(X)
SI__WAIT_HOOKED(X)
#undef X

#if defined(__x86_64__)
/* wait_futex.c: in front of syscall(), and what it does about futex (number 202), as the parameters lie there. */
extern long (*si__wait_syscall)(long number, ...);
__attribute__((visibility("hidden"))) long si__wrap_syscall(long number, ...);
__attribute__((visibility("hidden"))) long si__wrap_futex(long number, const uint32_t *word, long operation, long value,
                                                          long time, long second, long value3);
#endif

/* Preloaded: finds the real functions (RTLD_NEXT). See si__hook_resolve. */
void si__lock_resolve(void);
void si__wait_resolve(void);

#endif
