/*
 * The worker: one thread for what blocks (symbol files, DWARF, compression, fsync), so that the loop never does.
 *
 * Jobs run in order. `work` runs on the worker, `after` on the loop's thread. All signals are blocked in the thread.
 */
#ifndef SI_WORKER_H
#define SI_WORKER_H

#include <stdint.h>
#include <uv.h>

typedef struct si__worker si__worker;

si__worker *si__worker_new(uv_loop_t *loop); /* NULL: out of memory or no thread */
/* Loop thread only. 0, SI_ENOMEM, or SI_ESTATE once the closed worker has run out of jobs. `work` and `after` may be
 * NULL. */
int si__worker_submit(si__worker *worker, void (*work)(void *arg), void (*after)(void *arg), void *arg);
/* CPU time that the thread has used so far, in ns. Loop thread only. */
uint64_t si__worker_cpu_ns(const si__worker *worker);
/* Runs what is queued, ends the thread, closes the loop handle; then calls closed on the loop. Once; returns at once.
 */
void si__worker_close(si__worker *worker, void (*closed)(void *arg), void *arg);

#endif
