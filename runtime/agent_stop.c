/*
 * How the agent ends: sampling off, last drain, last report, one upload, then everything is released in an order that
 * leaves nobody with a part that is gone. Steps are asynchronous; a deadline cuts them short. Loop thread only.
 */
#include <si/si.h>
#include <stdlib.h>

#include "agent_parts.h"

enum { STEP_TARGETS = 1, STEP_REPORT, STEP_UPLOAD, STEP_DONE };

static void finish_stop(si__agent *a, int rc) {
    if (a->stop_step == STEP_DONE) return;
    a->stop_step = STEP_DONE;
    uv_timer_stop(&a->deadline);
    si__agent_save_state(a);
    if (a->rules_state) si__rules_state_end(a->rules_state);
    void (*stopped)(void *arg, int rc) = a->stopped;
    a->stopped = NULL;
    if (stopped) stopped(a->stopped_arg, rc);
}

static void on_deadline(uv_timer_t *timer) {
    finish_stop(timer->data, SI_ETIMEDOUT);
}

static void on_uploaded(void *arg) {
    si__agent *a = arg;
    if (a->stop_step != STEP_UPLOAD) return;
    si__spool_counts counts;
    si__spool_counts_get(a->spool, &counts);
    finish_stop(a, counts.pending ? SI_ETIMEDOUT : 0);
}

static void on_reported(void *arg) {
    si__agent *a = arg;
    if (a->stop_step != STEP_REPORT) return;
    a->stop_step = STEP_UPLOAD;
    if (a->upload)
        si__upload_try_now(a->upload, on_uploaded, a);
    else
        finish_stop(a, 0);
}

void si__agent_continue(si__agent *a) {
    if (a->stop_step != STEP_TARGETS || a->targets_ending) return;
    a->stop_step = STEP_REPORT;
    si__agent_look_at_clocks(a);
    for (int i = 0; i < SI__PROFILE_TYPES; i++) si__recorder_focus_end(a->recorder, (si__profile_type)i);
    if (a->died) si__death_record(a->recorder, &a->death); /* every ring is drained by now */
    si__agent_read_metrics(a);                             /* what ended processes counted last */
    si__reporter_make(a->reporter, a->unix_ms, on_reported, a);
}

static void end_targets(si__agent *a) {
    while (a->target_count) si__agent_process_ended(a, si__target_pid(a->targets[a->target_count - 1]));
}

void si__agent_stop(si__agent *a, uint32_t timeout_ms, void (*stopped)(void *arg, int rc), void *arg) {
    si__agent_status(a, "agent", "off", "stopped"); /* silence from now on is not agent_down */
    a->stopping = 1;
    a->stopped = stopped;
    a->stopped_arg = arg;
    si__agent_look_at_clocks(a);
    si__agent_enable_types(a);
    uv_timer_stop(&a->beat);
    uv_timer_init(a->beat.loop, &a->deadline);
    a->deadline.data = a;
    a->deadline_open = 1;
    uv_timer_start(&a->deadline, on_deadline, timeout_ms, 0);
    si__agent_read_metrics(a);
    /* The heap is followed on: what is live at the end belongs into the last report. */
    const si__rates last = {.heap_bytes = si__sampler_rates(a->sampler).heap_bytes};
    for (size_t i = 0; i < a->target_count; i++) si__target_rates(a->targets[i], &last);
    a->stop_step = STEP_TARGETS;
    a->targets_ending++; /* so that the step cannot end while we are still ending targets */
    end_targets(a);
    a->targets_ending--;
    si__agent_continue(a);
}

/* ---- Flush ---- */

typedef struct flush {
    si__agent *agent;
    void (*done)(void *arg);
    void *arg;
} flush;

static void flush_done(void *arg) {
    flush *f = arg;
    if (f->done) f->done(f->arg);
    free(f);
}

static void flush_upload(void *arg) {
    flush *f = arg;
    if (f->agent->upload && !f->agent->stopping)
        si__upload_try_now(f->agent->upload, flush_done, f);
    else
        flush_done(f);
}

void si__agent_flush(si__agent *a, void (*done)(void *arg), void *arg) {
    flush *f = malloc(sizeof *f);
    if (!f) {
        if (done) done(arg);
        return;
    }
    *f = (flush){a, done, arg};
    si__agent_look_at_clocks(a);
    si__agent_enable_types(a);
    for (size_t i = 0; i < a->target_count; i++) {
        double fill;
        si__target_drain(a->targets[i], &fill);
        si__target_waits(a->targets[i]);
    }
    si__agent_read_metrics(a);
    si__reporter_make(a->reporter, a->unix_ms, flush_upload, f);
}

/* ---- Free ---- */

static void free_parts(si__agent *a) {
    si__reporter_free(a->reporter);
    si__deliver_free(a->deliver);
    si__rules_state_free(a->rules_state);
    if (a->script) si__script_free(a->script);
    if (a->spool) si__spool_close(a->spool);
    if (a->recorder) si__recorder_free(a->recorder);
    if (a->history) si__history_free(a->history);
    si__sampler_free(a->sampler);
    si__meter_free(a->meter);
    if (a->symbolizer) si__symbolizer_free(a->symbolizer);
    if (a->binaries) si__binaries_free(a->binaries);
    if (a->cache) si__unwind_cache_free(a->cache);
    free(a->targets);
    void (*freed)(void *arg) = a->freed;
    void *arg = a->freed_arg;
    free(a);
    freed(arg);
}

static void one_closed(void *arg) {
    si__agent *a = arg;
    if (--a->open_handles == 0) free_parts(a);
}

static void on_handle_closed(uv_handle_t *handle) {
    one_closed(handle->data);
}

/* The worker ends last but one: jobs of the others may still be in it. */
static void on_worker_closed(void *arg) {
    si__agent *a = arg;
    a->open_handles = 1;
    if (a->deadline_open) a->open_handles++;
    uv_close((uv_handle_t *)&a->beat, on_handle_closed);
    if (a->deadline_open) uv_close((uv_handle_t *)&a->deadline, on_handle_closed);
}

static void close_worker(si__agent *a) {
    if (a->worker)
        si__worker_close(a->worker, on_worker_closed, a);
    else
        on_worker_closed(a);
}

static void network_closed(void *arg) {
    si__agent *a = arg;
    if (--a->open_handles == 0) close_worker(a);
}

void si__agent_free(si__agent *a, void (*freed)(void *arg), void *arg) {
    a->freed = freed;
    a->freed_arg = arg;
    a->stopping = 1;
    a->stop_step = STEP_DONE;
    uv_timer_stop(&a->beat);
    si__rules_watch_close(a->watch);
    a->watch = NULL;
    end_targets(a);
    si__reporter_detach(a->reporter); /* it may have a report in the making on the worker, which ends later */
    si__upload *upload = a->upload;
    si__notify *notify = a->notify;
    a->upload = NULL; /* nor does anybody else look at them from here on */
    a->notify = NULL;
    a->open_handles = 1 + (upload != NULL) + (notify != NULL);
    if (upload) si__upload_close(upload, network_closed, a);
    if (notify) si__notify_close(notify, network_closed, a);
    network_closed(a);
}
