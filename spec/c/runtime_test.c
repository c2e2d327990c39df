/*
 * The embedded runtime through its public functions, with a real HTTP server as the dashboard: what reports hold, and
 * that the host goes on whatever the dashboard, other threads, forks, and the machine do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <si/si.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../runtime/report/report.h"
#include "http_server.h"
#include "temporary_dir.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static const server_answer accepted = {ANSWER, 200, "{\"status\":\"stored\"}", NULL, NULL};

/* ---- Time and work ---- */

static double seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int64_t unix_ms(void) {
    return (int64_t)(seconds(CLOCK_REALTIME) * 1000);
}

static void nap(void) {
    const struct timespec t = {0, 2000000};
    nanosleep(&t, NULL);
}

__attribute__((noinline)) static void burn(double cpu_s) {
    double end = seconds(CLOCK_THREAD_CPUTIME_ID) + cpu_s;
    while (seconds(CLOCK_THREAD_CPUTIME_ID) < end)
        for (volatile int i = 0; i < 10000; i++) continue;
}

/* ---- A host program ---- */

static char dir[64], path[128];
static atomic_int complaints;

static void on_log(void *data, si_log_level level, const char *message) {
    (void)data, (void)message;
    complaints += level >= SI_LOG_ERROR;
}

static si_options options_for(const http_server *server) {
    static char url[64];
    si_options o;
    si_options_init(&o);
    o.app_name = "shop";
    o.app_version = "2.5";
    o.app_environment = "test";
    o.host_name = "here";
    o.agent_key = "key";
    o.log = on_log;
    if (server) snprintf(url, sizeof url, "http://127.0.0.1:%u", server->port);
    o.dashboard_url = server ? url : NULL;
    return o;
}

static const char *write_rules(const char *name, const char *text) {
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    return dir;
}

static int set_up(void **state) {
    (void)state;
    temporary_dir_make(dir);
    complaints = 0;
    return 0;
}

static int tear_down(void **state) {
    temporary_dir_remove(dir);
    return *state != NULL;
}

/* A closed runtime may still be ending a long step: then an open is refused for a while. */
static si_runtime *open_soon(const si_options *o) {
    si_runtime *runtime = NULL;
    double deadline = seconds(CLOCK_MONOTONIC) + 30;
    int rc;
    while ((rc = si_runtime_open(&runtime, o)) == SI_EEXIST && seconds(CLOCK_MONOTONIC) < deadline) nap();
    assert_int_equal(rc, 0);
    return runtime;
}

static si__report *decode(const server_request *request) {
    uint8_t *data;
    size_t length;
    char error[256] = "";
    si__report *report = NULL;
    assert_string_equal(request->method, "POST");
    assert_string_equal(request->path, "/api/v1/reports");
    assert_int_equal(si__report_decompress((const uint8_t *)request->body, request->length, 8 << 20, &data, &length),
                     0);
    if (si__report_decode(data, length, &report, error, sizeof error) != 0) fail_msg("%s", error);
    free(data);
    return report;
}

/* ---- What a report says ---- */

typedef struct totals { /* over all reports of a run */
    double cpu_ns, gauge;
    uint64_t samples, profile_ns, segments, segment_errors, segment_ns, errors, error_stacks, calls;
    int counters, last_cpu_on, report_loss;
    int64_t end_ms;
} totals;

static void check_context(const si__report *r) {
    const si__context *c = &r->context;
    char run_id[33];
    for (int i = 0; i < 16; i++) snprintf(run_id + 2 * i, 3, "%02x", r->id.boot[i]);
    assert_string_equal(c->app, "shop");
    assert_string_equal(c->app_version, "2.5");
    assert_string_equal(c->environment, "test");
    assert_string_equal(c->host, "here");
    assert_string_equal(c->agent_version, si_version());
    assert_string_equal(c->run_id, run_id);
    assert_non_null(strstr(c->runtime_version, "glibc 2."));
    assert_non_null(strstr(c->os, "Linux"));
    assert_true(strlen(c->build_id) >= 16);
    assert_int_equal(c->pid, getpid());
}

static void add_segment(totals *t, const si__report_segment *s) {
    if (strcmp(s->name, "search /orders/:id") == 0) {
        assert_string_equal(s->kind, "segment");
        t->segments += s->count;
        t->segment_ns += s->sum_ns;
        assert_int_equal(si__sketch_count(s->sketch), s->count);
        double p50 = si__sketch_quantile(s->sketch, 0.5), p95 = si__sketch_quantile(s->sketch, 0.95);
        assert_true(p50 >= 4.9e6 && p50 <= p95 && p95 <= (double)s->max_ns * 1.02);
    } else if (strcmp(s->name, "GET /fail") == 0) {
        assert_string_equal(s->kind, "http_handler");
        t->segment_errors += s->errors;
        t->calls += s->count;
    } else {
        assert_string_equal(s->name, "SELECT 1");
        assert_string_equal(s->kind, "sql");
        t->calls += s->count;
    }
}

static void add_report(totals *t, const si__report *r) {
    assert_true(r->start_ms <= r->end_ms);
    if (t->end_ms) assert_true(llabs(r->start_ms - t->end_ms) <= 50); /* no gap, no overlap */
    t->end_ms = r->end_ms;
    check_context(r);
    static const char *const types[] = {"cpu", "heap", "alloc", "lock", "network", "system", "channel"};
    assert_int_equal(r->profile_count, sizeof types / sizeof *types);
    for (size_t i = 0; i < r->profile_count; i++) assert_string_equal(r->profiles[i].type, types[i]);
    const si__report_profile *p = &r->profiles[0];
    assert_string_equal(p->type, "cpu");
    assert_string_equal(p->unit, "ns");
    assert_string_equal(p->trigger, "cadence");
    assert_true(p->cores > 0 && p->cores <= 4096);
    assert_int_equal(p->dropped, 0);
    assert_int_equal(p->samples, si__calltree_total_count(p->tree));
    t->cpu_ns += (double)si__calltree_total_value(p->tree);
    t->samples += p->samples;
    t->profile_ns += p->duration_ns;
    for (size_t i = 0; i < r->segment_count; i++) add_segment(t, &r->segments[i]);
    for (size_t i = 0; i < r->error_count; i++) {
        assert_string_equal(r->errors[i].group, "out of <b>luck</b>");
        assert_string_equal(r->errors[i].message, "no more");
        t->errors += r->errors[i].count;
        if (r->errors[i].tree) t->error_stacks += si__calltree_total_count(r->errors[i].tree);
    }
    for (size_t i = 0; i < r->point_count; i++) {
        assert_true(llabs(r->points[i].time_ms - unix_ms()) < 60000);
        if (strcmp(r->points[i].name, "queue") == 0) t->gauge = r->points[i].value;
        if (strcmp(r->points[i].name, "orders") == 0) t->counters += r->points[i].value > 0;
    }
    t->last_cpu_on = 0;
    for (size_t i = 0; i < r->status_count; i++)
        if (strcmp(r->statuses[i].name, "cpu") == 0) t->last_cpu_on = strcmp(r->statuses[i].state, "on") == 0;
    for (size_t i = 0; i < r->loss_count; i++) {
        const si__report_loss *l = &r->losses[i];
        assert_int_equal(l->made, l->stored + l->pending + l->dropped);
        t->report_loss |= strcmp(l->name, "reports") == 0 && l->dropped == 0;
    }
    assert_true(strlen(r->rules_hash) >= 16);
    assert_true(r->rule_count >= 5);
}

static void reports_hold_what_happened(void **state) {
    (void)state;
    http_server *server = http_server_start(&accepted, 1);
    si_options o = options_for(server);
    o.rules_dir = write_rules("cadence.lua", "cadence { metrics = \"60s\", report = \"2m\", cpu = { hz = 100, every = "
                                             "\"8s\", span = \"8s\" } }\n");
    write_rules("segments.lua",
                "segment \"search .*\" { name = function(n) return (n:gsub(\"/%d+\", \"/:id\")) end }\n");
    si_runtime *runtime = NULL;
    double cpu_before = seconds(CLOCK_PROCESS_CPUTIME_ID), wall_before = seconds(CLOCK_MONOTONIC);
    assert_int_equal(si_runtime_open(&runtime, &o), 0);
    double burnt = seconds(CLOCK_THREAD_CPUTIME_ID);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 100; i++) {
            char name[32];
            snprintf(name, sizeof name, "search /orders/%d", i % 7);
            SI_SEGMENT(name) {
                burn(0.01);
            }
        }
        for (int i = 0; i < 25; i++) si_error_record("out of <b>luck</b>", "no more");
        si_call call;
        si_handler_start(&call, "GET /fail");
        si_handler_stop(&call, 500);
        si_call_start(&call, SI_CALL_SQL, "SELECT 1");
        si_call_stop(&call);
        si_gauge_set("queue", 17 + round);
        si_counter_add("orders", 100);
        if (round == 0) assert_int_equal(si_runtime_flush(runtime, 20000), 0);
    }
    burnt = seconds(CLOCK_THREAD_CPUTIME_ID) - burnt;
    assert_int_equal(si_runtime_close(runtime, 20000), 0);
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_before, wall = seconds(CLOCK_MONOTONIC) - wall_before;
    assert_int_equal(http_server_requests(server), 2);
    totals t = {0};
    for (unsigned i = 0; i < 2; i++) {
        si__report *r = decode(http_server_request(server, i));
        assert_int_equal(r->id.sequence, i + 1);
        add_report(&t, r);
        si__report_free(r);
    }
    assert_int_equal(t.segments, 200);
    assert_true((double)t.segment_ns >= 1.9e9 && (double)t.segment_ns <= wall * 1e9);
    assert_int_equal(t.errors, 50);
    assert_true(t.error_stacks >= 1 && t.error_stacks <= 50);
    assert_int_equal(t.calls, 4);
    assert_int_equal(t.segment_errors, 2);
    assert_true(t.gauge == 18);
    assert_int_equal(t.counters, 2);
    assert_int_equal(t.last_cpu_on, 1); /* the last report too, though nothing is observed any more by then */
    assert_int_equal(t.report_loss, 1);
    assert_true((double)t.profile_ns > 0.9e9 * 2 * 0.9 && (double)t.profile_ns <= wall * 1e9);
    /* This thread's time, of which a sample each 10 ms: 2 %, and the start before the first tables. */
    if (!SANITIZED) assert_true(t.cpu_ns >= burnt * 0.98e9 - 3e7);
    assert_true(t.cpu_ns <= cpu * 1.02e9 + 3e7);
    assert_true(t.samples >= 20);
    assert_int_equal(complaints, 0);
    http_server_stop(server);
}

/* ---- Crashes ---- */

static volatile uintptr_t nowhere = 16;

__attribute__((noinline)) static void store_there(int value) {
    *(volatile int *)nowhere = value;
}

/* A process of its own, with a runtime that records crashes; in its child it dies. */
static void die_observed(void) {
    si_options o = options_for(NULL);
    o.state_dir = dir;
    o.record_crashes = 1;
    signal(SIGSEGV, SIG_DFL); /* the test framework has a handler */
    si_runtime *runtime = NULL;
    if (si_runtime_open(&runtime, &o) != 0) _exit(1);
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    if (si_runtime_flush(runtime, 20000) != 0) _exit(3); /* the unwinder's tables are there by now */
    store_there(1);
    _exit(2);
}

static int has_frame(const si__calltree *tree, const char *function) {
    for (size_t i = 0; tree && i < si__calltree_frame_count(tree); i++)
        if (strcmp(si__calltree_frame_at(tree, i)->function, function) == 0) return 1;
    return 0;
}

static void the_next_process_tells_what_the_last_one_died_of(void **state) {
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0) die_observed();
    assert_int_equal(waitpid(child, &status, 0), child);
    if (SANITIZED) skip();                                           /* the sanitizer has handlers of its own */
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV); /* as without us */
    http_server *server = http_server_start(&accepted, 1);
    si_options o = options_for(server);
    o.state_dir = dir;
    si_runtime *runtime = open_soon(&o);
    assert_int_equal(si_runtime_close(runtime, 20000), 0);
    si__report *r = decode(http_server_request(server, 0));
    assert_int_equal(r->error_count, 1);
    assert_string_equal(r->errors[0].group, "crash: SIGSEGV");
    assert_string_equal(r->errors[0].message, "SIGSEGV at 0x10");
    assert_int_equal(r->errors[0].count, 1);
    assert_true(has_frame(r->errors[0].tree, "store_there"));
    assert_true(has_frame(r->errors[0].tree, "die_observed"));
    si__report_free(r);
    runtime = open_soon(&o); /* told once */
    assert_int_equal(si_runtime_close(runtime, 20000), 0);
    r = decode(http_server_request(server, http_server_requests(server) - 1));
    assert_int_equal(r->error_count, 0);
    si__report_free(r);
    http_server_stop(server);
}

/* ---- Rules ---- */

static void a_rule_that_fires_looks_closer_and_survives_a_restart(void **state) {
    (void)state;
    http_server *server = http_server_start(&accepted, 1);
    si_options o = options_for(server);
    char rules[80], kept[80];
    o.rules_dir =
        strcpy(rules, write_rules("mine.lua", "rule \"queue_long\" {\n  severity = \"critical\", summary = \"long\",\n"
                                              "  watch = metric \"queue\", every = \"1s\",\n"
                                              "  when = function(s) return s:last() > 5 end,\n"
                                              "  on_fire = function() return profile { type = \"cpu\", hz = "
                                              "250, span = \"1s\", before = \"30s\" } end,\n}\n"));
    snprintf(kept, sizeof kept, "%s/state", dir);
    o.state_dir = kept;
    int64_t fired_ms = 0, closer = 0;
    for (int run = 0; run < 2; run++) {
        si_runtime *runtime = open_soon(&o);
        unsigned seen = http_server_requests(server);
        int done = 0;
        for (double end = seconds(CLOCK_MONOTONIC) + 40; !done && seconds(CLOCK_MONOTONIC) < end;) {
            si_gauge_set("queue", 9);
            burn(0.3);
            assert_int_equal(si_runtime_flush(runtime, 20000), 0);
            for (; seen < http_server_requests(server) && seen < SERVER_REQUESTS - 2; seen++) {
                si__report *r = decode(http_server_request(server, seen));
                for (size_t i = 0; i < r->alert_count; i++) {
                    if (strcmp(r->alerts[i].rule, "queue_long") != 0 || r->alerts[i].state != SI__ALERT_FIRING)
                        continue;
                    if (!fired_ms) fired_ms = r->alerts[i].fired_ms;
                    assert_int_equal(r->alerts[i].fired_ms, fired_ms);
                    done |= run == 1;
                }
                for (size_t i = 0; i < r->profile_count; i++) {
                    const si__report_profile *p = &r->profiles[i];
                    if (strcmp(p->trigger, "cadence") == 0) continue;
                    assert_string_equal(p->trigger, "queue_long");
                    closer++;
                    done |= run == 0;
                    assert_true(p->duration_ns >= 900000000 && p->duration_ns < 60000000000);
                    assert_true(p->start_ms < fired_ms); /* the time before is in it */
                    assert_true(si__calltree_total_value(p->tree) > 0);
                }
                si__report_free(r);
            }
        }
        assert_true(done);
        assert_int_equal(si_runtime_close(runtime, 20000), 0);
    }
    assert_true(fired_ms > 0);
    assert_int_equal(closer, 1); /* it went on firing, and did not fire anew */
    http_server_stop(server);
}

/* ---- Dashboards that fail ---- */

static void the_host_goes_on_whatever_the_dashboard_does(void **state) {
    (void)state;
    static const server_answer failures[] = {{CUT, 200, "", NULL, NULL},
                                             {ENDLESS, 200, "", NULL, NULL},
                                             {HANG, 200, "", NULL, NULL},
                                             {ANSWER, 500, "", NULL, NULL},
                                             {ANSWER, 503, "", "Retry-After", "86400"},
                                             {ANSWER, 401, "", NULL, NULL},
                                             {ANSWER, 404, "", NULL, NULL},
                                             {ANSWER, 429, "", "Retry-After", "nonsense"},
                                             {ANSWER, 302, "", "Location", "http://127.0.0.1:1/"}};
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        http_server *server = http_server_start(&failures[i], 1);
        si_options o = options_for(server);
        si_runtime *runtime = open_soon(&o);
        SI_SEGMENT("work") {
            burn(0.01);
        }
        errno = 77;
        double start = seconds(CLOCK_MONOTONIC);
        int rc = si_runtime_flush(runtime, 300);
        assert_true(rc == 0 || rc == SI_ETIMEDOUT);
        rc = si_runtime_close(runtime, 300);
        assert_true(rc == 0 || rc == SI_ETIMEDOUT);
        assert_int_equal(errno, 77);
        assert_true(seconds(CLOCK_MONOTONIC) - start < 20);
        http_server_stop(server);
    }
}

/* Nobody listens, then somebody does: each report comes once, with what was recorded meanwhile. */
static void nothing_is_lost_while_the_dashboard_is_away(void **state) {
    (void)state;
    http_server *server = http_server_start(&accepted, 1);
    si_options o = options_for(server);
    o.state_dir = dir;
    const char *there = o.dashboard_url;
    for (int run = 0; run < 3; run++) {
        o.dashboard_url = "http://127.0.0.1:1";
        si_runtime *runtime = open_soon(&o);
        for (int i = 0; i < 10; i++) si_error_record("lost?", "no");
        assert_int_equal(si_runtime_flush(runtime, 20000), 0); /* in the spool */
        assert_int_equal(si_runtime_close(runtime, 2000), SI_ETIMEDOUT);
    }
    assert_int_equal(http_server_requests(server), 0);
    o.dashboard_url = there;
    si_runtime *runtime = open_soon(&o);
    assert_int_equal(si_runtime_close(runtime, 20000), 0);
    uint64_t errors = 0;
    unsigned count = http_server_requests(server);
    assert_int_equal(count, 7);
    si__report_id ids[7];
    for (unsigned i = 0; i < count; i++) {
        si__report *r = decode(http_server_request(server, i));
        ids[i] = r->id;
        for (unsigned k = 0; k < i; k++) assert_memory_not_equal(&ids[k], &ids[i], sizeof ids[i]);
        assert_memory_equal(ids[0].agent, ids[i].agent, 16); /* the same agent over its restarts */
        for (size_t e = 0; e < r->error_count; e++) errors += r->errors[e].count;
        si__report_free(r);
    }
    assert_int_equal(errors, 30);
    http_server_stop(server);
}

static void a_close_without_time_does_not_wait_for_an_upload(void **state) {
    (void)state;
    static const server_answer hang = {HANG, 200, "", NULL, NULL};
    http_server *server = http_server_start(&hang, 1);
    si_options o = options_for(server);
    for (int i = 0; i < 5; i++) {
        si_runtime *runtime = open_soon(&o);
        burn(0.02);
        if (i % 2) assert_int_equal(si_runtime_flush(runtime, 50), SI_ETIMEDOUT);
        double start = seconds(CLOCK_MONOTONIC);
        assert_int_equal(si_runtime_close(runtime, 0), SI_ETIMEDOUT);
        assert_true(seconds(CLOCK_MONOTONIC) - start < 10);
    }
    si_runtime *runtime = open_soon(&o);
    assert_int_equal(si_runtime_close(runtime, 0), SI_ETIMEDOUT);
    o.dashboard_url = NULL;
    runtime = open_soon(&o); /* the longest timeout there is means long, not none */
    assert_int_equal(si_runtime_close(runtime, UINT32_MAX), 0);
    http_server_stop(server);
}

/* ---- Threads ---- */

typedef struct crowd {
    si_runtime *_Atomic runtime;
    atomic_int stop, flushed, closed, refused;
} crowd;

static void *flush_often(void *arg) {
    crowd *c = arg;
    while (!c->stop) {
        int rc = si_runtime_flush(c->runtime, 20000);
        if (rc != 0 && rc != SI_ESTATE) abort();
        c->stop = c->stop || rc == SI_ESTATE;
        c->flushed += rc == 0;
    }
    c->refused += si_runtime_flush(c->runtime, 1) == SI_ESTATE;
    return NULL;
}

static void *close_it(void *arg) {
    crowd *c = arg;
    while (c->flushed < 8) nap();
    int rc = si_runtime_close(c->runtime, 20000);
    if (rc != 0 && rc != SI_ESTATE) abort();
    c->closed += rc == 0;
    return NULL;
}

static void flushes_and_closes_from_many_threads_at_once(void **state) {
    (void)state;
    http_server *server = http_server_start(&accepted, 1);
    si_options o = options_for(server);
    for (int round = 0; round < 3; round++) {
        crowd c = {0};
        c.runtime = open_soon(&o);
        pthread_t flushers[24], closers[4];
        for (int i = 0; i < 24; i++) assert_int_equal(pthread_create(&flushers[i], NULL, flush_often, &c), 0);
        for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&closers[i], NULL, close_it, &c), 0);
        for (int i = 0; i < 4; i++) pthread_join(closers[i], NULL);
        for (int i = 0; i < 24; i++) pthread_join(flushers[i], NULL);
        assert_int_equal(c.closed, 1);
        assert_int_equal(c.refused, 24);
        assert_int_equal(si_runtime_flush(c.runtime, 1), SI_ESTATE);
        assert_int_equal(si_profile_start(c.runtime, "cpu", NULL), SI_ESTATE);
    }
    http_server_stop(server);
}

static void *record_all_the_time(void *arg) {
    atomic_int *stop = arg;
    for (unsigned i = 0; !*stop; i++) {
        char name[32];
        snprintf(name, sizeof name, "segment %u", i % 50);
        SI_SEGMENT(name) {
            si_gauge_set("gauge", i);
        }
        si_counter_add("counter", 1);
        if (i % 16 == 0) si_error_record(i % 32 ? "odd" : "even", name);
    }
    return NULL;
}

static void recording_goes_on_through_opens_and_closes(void **state) {
    (void)state;
    http_server *server = http_server_start(&accepted, 1);
    si_options o = options_for(server);
    atomic_int stop = 0;
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, record_all_the_time, &stop), 0);
    for (int i = 0; i < 12; i++) {
        si_runtime *runtime = open_soon(&o);
        burn(0.02);
        if (i % 3 == 0) assert_int_equal(si_runtime_flush(runtime, 20000), 0);
        assert_int_equal(si_runtime_close(runtime, 20000), 0);
    }
    stop = 1;
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    http_server_stop(server);
}

static void children_forked_under_load_are_left_alone(void **state) {
    (void)state;
    si_options o = options_for(NULL);
    o.state_dir = dir;
    atomic_int stop = 0;
    pthread_t threads[2];
    si_runtime *runtime = open_soon(&o);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, record_all_the_time, &stop), 0);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            SI_SEGMENT("child") {
                burn(0.001);
            }
            si_error_record("child", "x");
            if (si_runtime_flush(runtime, 1000) != SI_ESTATE) _exit(1);
            _exit(si_runtime_close(runtime, 1000) == 0 ? 0 : 2);
        }
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    stop = 1;
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    assert_int_equal(si_runtime_flush(runtime, 20000), 0);
    assert_int_equal(si_runtime_close(runtime, 20000), 0);
}

/* ---- What is left behind ---- */

static int entries(const char *folder) {
    DIR *d = opendir(folder);
    int count = 0;
    while (readdir(d)) count++;
    closedir(d);
    return count;
}

static long resident_kib(void) {
    long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_int_equal(fscanf(file, "%ld %ld", &total, &resident), 2);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* No more than `most` descriptors are open, or soon will be: what others hold, such as a server's side of a connection,
   is closed in their own time. */
static int descriptors_settle(int most) {
    double deadline = seconds(CLOCK_MONOTONIC) + 10;
    while (entries("/proc/self/fd") > most && seconds(CLOCK_MONOTONIC) < deadline) nap();
    if (entries("/proc/self/fd") <= most) return 1;
    for (int fd = 0; fd < 1024; fd++) {
        char name[64], target[256];
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(name, target, sizeof target);
        if (length > 0) print_message("descriptor %d: %.*s\n", fd, (int)length, target);
    }
    return 0;
}

static void fifty_runtimes_leave_nothing(void **state) {
    (void)state;
    http_server *server = http_server_start(&accepted, 1);
    si_options o = options_for(server);
    o.state_dir = dir;
    int descriptors = 0, threads = 0;
    long memory_kib = 0;
    for (int i = 0; i < 50; i++) {
        si_runtime *runtime = open_soon(&o);
        si_error_record("group", "message");
        assert_int_equal(si_runtime_close(runtime, 20000), 0);
        if (i != 9) continue;
        descriptors = entries("/proc/self/fd");
        threads = entries("/proc/self/task");
        memory_kib = resident_kib();
    }
    assert_true(descriptors_settle(descriptors));
    assert_int_equal(entries("/proc/self/task"), threads);
    if (!SANITIZED) assert_true(resident_kib() < memory_kib + 6 * 1024); /* the server here keeps the bodies */
    http_server_stop(server);
}

static void an_open_without_descriptors_fails_and_leaves_nothing(void **state) {
    (void)state;
    si_options o = options_for(NULL);
    si_runtime *runtime = open_soon(&o); /* what is made once is made now */
    assert_int_equal(si_runtime_close(runtime, 20000), 0);
    int descriptors = entries("/proc/self/fd"), opened = 0, lowest = dup(STDOUT_FILENO);
    assert_int_equal(close(lowest), 0);
    struct rlimit before, few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (int more = 0; more < 24; more++) {
        few = before;
        few.rlim_cur = (rlim_t)(lowest + more);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        runtime = NULL;
        int rc = si_runtime_open(&runtime, &o);
        assert_true((rc == 0) == (runtime != NULL));
        opened += rc == 0;
        if (runtime) si_runtime_close(runtime, 20000);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_true(descriptors_settle(descriptors));
    }
    assert_true(opened >= 1);
    runtime = open_soon(&o);
    assert_int_equal(si_runtime_close(runtime, 20000), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reports_hold_what_happened, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_next_process_tells_what_the_last_one_died_of, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_rule_that_fires_looks_closer_and_survives_a_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_host_goes_on_whatever_the_dashboard_does, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_lost_while_the_dashboard_is_away, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_close_without_time_does_not_wait_for_an_upload, set_up, tear_down),
        cmocka_unit_test_setup_teardown(flushes_and_closes_from_many_threads_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(recording_goes_on_through_opens_and_closes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(children_forked_under_load_are_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fifty_runtimes_leave_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_open_without_descriptors_fails_and_leaves_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
