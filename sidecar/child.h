/*
 * The observed program as a child of `si run`: started with the probe preloaded, its signals forwarded, its end
 * reported exactly as it was. Loop thread only.
 */
#ifndef SI_SIDECAR_CHILD_H
#define SI_SIDECAR_CHILD_H

#include <sys/types.h>
#include <uv.h>

typedef struct si__child si__child;

/*
 * Starts argv with `preload` put first into LD_PRELOAD and SI_PROBE_SOCKET=socket_path (both NULL: plain start).
 * `exited` is called once with the wait status. Returns 0 or a negative errno; ENOENT and EACCES come from exec itself.
 * All signals that can be forwarded are blocked in this process from here on; the child gets the mask from before.
 */
int si__child_start(uv_loop_t *loop, char *const argv[], const char *preload, const char *socket_path,
                    void (*exited)(void *arg, int wait_status), void *arg, si__child **out);
/* Gives this process back the signal actions and limits that it was started with: before a program takes its place. */
void si__child_restore_host(void);
pid_t si__child_pid(const si__child *child);
void si__child_free(si__child *child);

/* Ends this process as the child ended: same exit code, or the same signal. Does not return. */
void si__child_exit_like(int wait_status) __attribute__((noreturn));

#endif
