/*
 * Upload: moves reports from the spool to the dashboard over libcurl's multi interface on the runtime's loop.
 *
 * Loop thread only. Spool calls that block are made on the worker through si__worker (runtime/worker.h).
 * Retry: full jitter 1 s to 5 min, Retry-After obeyed up to 24 h; 401/403 keep and back off; other 4xx quarantine.
 * A report that the server fails on (5xx) three times in a row steps aside for ten minutes. Also ticks the spool every
 * 5 s. Without dashboard_url or agent_key nothing is sent, but reports still go to disk.
 */
#ifndef SI_REPORT_UPLOAD_H
#define SI_REPORT_UPLOAD_H

#include <stdint.h>
#include <uv.h>

#include "../worker.h"
#include "spool.h"

typedef struct si__upload si__upload;
typedef void (*si__log_fn)(void *arg, int level, const char *message);

typedef struct si__upload_options {
    const char *dashboard_url, *agent_key, *proxy_url, *ca_file; /* copied */
    si__log_fn log;
    void (*on_stored)(void *log_arg, const si__report_id *id); /* the dashboard has it; NULL: nobody wants to know */
    void *log_arg;
} si__upload_options;

typedef struct si__upload_state {
    int reachable;
    int64_t unreachable_since_ms;
    uint64_t sent, duplicates, rejected, failures;
    char last_error[160];
} si__upload_state;

/* Starts with what a former run has left. The worker and the spool must outlive it. NULL: out of memory. */
si__upload *si__upload_new(uv_loop_t *loop, si__worker *worker, si__spool *spool, const si__upload_options *options);
void si__upload_kick(si__upload *upload); /* something was put into the spool */
void si__upload_try_now(si__upload *upload, void (*done)(void *arg),
                        void *arg); /* one attempt for all pending, ignoring back-off; done once */
void si__upload_state_get(const si__upload *upload, si__upload_state *out);
void si__upload_close(si__upload *upload, void (*closed)(void *arg),
                      void *arg); /* asynchronous; frees itself, then calls closed */

#endif
