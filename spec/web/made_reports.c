/*
 * Reports for the browser tests, made with the agent's own encoder: `made_reports APP ENV HOST VERSION MINUTES NOW_MS
 * [HEAT]` prints one report a minute up to NOW_MS, oldest first, each behind its length (4 bytes, little-endian). HEAT
 * (percent) scales the hot spot, so that a later version can be slower. Names of functions, segments, errors and rules
 * include markup that must never become any.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/report/report.h"

#define MINUTE_MS 60000
#define XSS "<img src=x onerror=alert(1)>"

typedef struct made {
    const char *app, *environment, *host, *version;
    int64_t minutes, now_ms, heat;
    uint64_t random;
} made;

static uint64_t next_random(made *m) { /* xorshift64* */
    m->random ^= m->random >> 12;
    m->random ^= m->random << 25;
    m->random ^= m->random >> 27;
    return m->random * 2685821657736338717ull;
}

static char *text(const char *s) {
    char *copy = si__report_strdup(s);
    if (!copy) exit(3);
    return copy;
}

static uint32_t call(si__calltree *tree, uint32_t parent, const char *function, const char *file, uint32_t line,
                     const char *module, int64_t samples) {
    uint32_t node = si__calltree_child(tree, parent, si__calltree_frame(tree, function, file, line, module));
    si__calltree_add(tree, node, samples * 10000000, (uint64_t)samples);
    return node;
}

/* A server's tree: a hot spot, a database, C++ names, names without symbols, hostile names, and some 400 small calls.
 */
static si__calltree *make_tree(made *m) {
    si__calltree *tree = si__calltree_new();
    if (!tree) exit(3);
    uint32_t top = call(tree, 0, "start_thread", "", 0, "libc.so.6", 0);
    uint32_t handle = call(tree, top, "handle_request", "/srv/shop/src/http.c", 211, "shop", 3);
    uint32_t search = call(tree, handle, "route_search", "/srv/shop/src/search.c", 47, "shop", 2);
    uint32_t rank = call(tree, search, "price_rank", "/srv/shop/src/search.c", 130, "shop", 40 * m->heat / 100);
    call(tree, call(tree, rank, "qsort_r", "", 0, "libc.so.6", 8), "compare_price", "/srv/shop/src/search.c", 118,
         "shop", 25 * m->heat / 100);
    call(tree, search, "std::vector<int, std::allocator<int> >::push_back(int const&)", "stl_vector.h", 1278, "shop",
         6);
    uint32_t step = call(tree, handle, "sqlite3_step", "", 0, "libsqlite3.so.0", 2);
    call(tree, step, "sqlite3VdbeExec", "", 0, "libsqlite3.so.0", 17);
    call(tree, handle, "[libblob.so+0x1f40]", "", 0, "libblob.so", 4);
    call(tree, handle, XSS, "/srv/" XSS ".c", 7, XSS, 3);
    call(tree, handle, "render_cart", "cart.lua", 33, "", 4);
    for (int i = 0; i < 400; i++) {
        char name[64];
        snprintf(name, sizeof name, "shop_step_%d", i);
        uint32_t parent = i % 4 ? call(tree, handle, "run_steps", "/srv/shop/src/steps.c", 12, "shop", 0) : search;
        if (next_random(m) % 3) call(tree, parent, name, "/srv/shop/src/steps.c", (uint32_t)(20 + i), "shop", 1);
    }
    return tree;
}

static si__report_profile *add_profile(const char *type, const char *unit, si__calltree *tree, si__report *report) {
    si__report_profile *profile = si__report_add_profile(report);
    profile->type = text(type);
    profile->unit = text(unit);
    profile->trigger = text("cadence");
    profile->workload = text("");
    profile->start_ms = report->start_ms + 10000;
    profile->duration_ns = 10000000000ull;
    profile->cores = 4;
    profile->tree = tree;
    profile->samples = si__calltree_total_count(tree);
    return profile;
}

/* A call path of a wait or of memory: `value` in the type's unit, `count` of what it counts. */
static void path(si__calltree *tree, const char *caller, const char *function, const char *module, int64_t value,
                 uint64_t count) {
    uint32_t top = si__calltree_child(tree, 0, si__calltree_frame(tree, "start_thread", "", 0, "libc.so.6"));
    uint32_t handle =
        si__calltree_child(tree, top, si__calltree_frame(tree, "handle_request", "/srv/shop/src/http.c", 211, "shop"));
    uint32_t from =
        si__calltree_child(tree, handle, si__calltree_frame(tree, caller, "/srv/shop/src/shop.c", 90, "shop"));
    uint32_t node = si__calltree_child(tree, from, si__calltree_frame(tree, function, "", 0, module));
    si__calltree_add(tree, node, value, count);
}

/* Memory that grows by a MiB a minute in one place, and waits of three kinds; no channel is ever waited for. */
static void add_other_profiles(made *m, si__report *report, int64_t minute) {
    si__calltree *heap = si__calltree_new(), *alloc = si__calltree_new(), *lock = si__calltree_new();
    si__calltree *network = si__calltree_new(), *disk = si__calltree_new();
    if (!heap || !alloc || !lock || !network || !disk) exit(3);
    path(heap, "load_catalog", "malloc", "libc.so.6", 64 << 20, 9000);
    path(heap, "keep_receipt", "malloc", "libc.so.6", (m->minutes - minute) << 20, 700);
    path(heap, XSS, "realloc", "libc.so.6", 3 << 20, 12);
    path(alloc, "render_page", "malloc", "libc.so.6", 400 << 20, 120000);
    path(lock, "charge_card", "pthread_mutex_lock", "libc.so.6", 1200000000, 80);
    path(network, "ask_prices", "recv", "libc.so.6", 3400000000, 340);
    path(disk, "write_journal", "fsync", "libc.so.6", 600000000, 10);
    add_profile("heap", "bytes", heap, report);
    add_profile("alloc", "bytes", alloc, report);
    add_profile("lock", "ns", lock, report);
    add_profile("network", "ns", network, report);
    add_profile("system", "ns", disk, report);
}

static si__report_segment *add_segment(made *m, si__report *report, const char *name, const char *kind,
                                       uint64_t usual_ns) {
    si__report_segment *segment = si__report_add_segment(report);
    segment->name = text(name);
    segment->kind = text(kind);
    segment->start_ms = report->start_ms;
    segment->duration_ns = 60000000000ull;
    segment->sketch = si__sketch_new();
    for (int i = 0; i < 200; i++) {
        uint64_t ns = usual_ns / 2 + next_random(m) % usual_ns;
        if (i % 50 == 0) ns *= 4;
        si__sketch_add(segment->sketch, ns, 1);
        segment->sum_ns += ns;
        if (ns > segment->max_ns) segment->max_ns = ns;
    }
    segment->count = 200;
    segment->errors = usual_ns > 50000000 ? 3 : 0;
    return segment;
}

/* Of the calls of one function: most took `usual_ns`, one in ten three times as long; each sample stands for as many.
 */
static void durations(si__calltree *tree, const char *function, uint64_t usual_ns, unsigned samples, unsigned each) {
    si__sketch *sketch = si__sketch_new();
    for (unsigned i = 0; sketch && i < samples; i++)
        if (si__sketch_add(sketch, i % 10 == 9 ? 3 * usual_ns : usual_ns, each)) exit(3);
    for (uint32_t i = 1; i < si__calltree_node_count(tree); i++)
        if (!strcmp(si__calltree_frame_at(tree, si__calltree_node_at(tree, i)->frame)->function, function) &&
            si__calltree_spread_add(tree, i, sketch, samples))
            exit(3);
    si__sketch_free(sketch);
}

/* Where the time of a handler's calls went. How long the rare ones took is known of the last minute only. */
static si__calltree *waiting_tree(int64_t minute) {
    si__calltree *tree = si__calltree_new();
    if (!tree) exit(3);
    path(tree, "route_search", "recv", "libc.so.6", 9000000000, 150);
    path(tree, "route_search", "sqlite3_step", "libsqlite3.so.0", 5000000000, 90);
    path(tree, XSS, "nanosleep", "libc.so.6", 300000000, 4);
    durations(tree, "recv", 50000000, 75, 2);
    durations(tree, "sqlite3_step", 40000000, 90, 1);
    if (minute == 0) durations(tree, "nanosleep", 75000000, 4, 1);
    return tree;
}

static void add_error(si__report *report, const char *group, const char *message, uint64_t count) {
    si__report_error *error = si__report_add_error(report);
    error->group = text(group);
    error->message = text(message);
    error->start_ms = report->start_ms;
    error->duration_ns = 60000000000ull;
    error->count = count;
    error->tree = si__calltree_new();
    uint32_t handle =
        si__calltree_child(error->tree, 0, si__calltree_frame(error->tree, "handle_request", "http.c", 211, "shop"));
    uint32_t pay =
        si__calltree_child(error->tree, handle, si__calltree_frame(error->tree, "charge_card", "pay.c", 40, "shop"));
    si__calltree_add(error->tree, pay, 0, count);
}

static void add_point(si__report *report, const char *name, const char *unit, double value) {
    si__point *point = si__report_add_point(report);
    point->name = text(name);
    point->unit = text(unit);
    point->time_ms = report->start_ms + 30000;
    point->value = value;
}

static void add_alert(made *m, si__report *report) {
    si__alert *alert = si__report_add_alert(report);
    snprintf(alert->fingerprint, sizeof alert->fingerprint, "%032x", 0xabc);
    alert->rule = text("cpu_high");
    alert->subject = text("process.cpu.utilization");
    alert->severity = text("critical");
    alert->summary = text("CPU above 85 % for 5 min " XSS);
    alert->runbook = text("javascript:alert(1)");
    alert->detail = text("price_rank grew\n" XSS);
    alert->app = text(m->app);
    alert->environment = text(m->environment);
    alert->host = text(m->host);
    alert->state = SI__ALERT_FIRING;
    alert->value = 0.93;
    alert->started_ms = report->start_ms - 300000;
    alert->fired_ms = report->start_ms;
}

static void add_state(si__report *report) {
    static const char *const statuses[][3] = {{"cpu", "on", "99 Hz on 12 threads"},
                                              {"symbols", "degraded", "no symbols in " XSS},
                                              {"channel", "unavailable", "the program is linked static " XSS}};
    static const char *const rules[][4] = {
        {"cpu_high", "rules/health.lua", "firing", ""},
        {XSS, "rules/" XSS, "disabled", "rules/x.lua:3: attempt to index a nil value"}};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        si__report_status *status = si__report_add_status(report);
        status->name = text(statuses[i][0]);
        status->state = text(statuses[i][1]);
        status->reason = text(statuses[i][2]);
    }
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        si__report_rule *rule = si__report_add_rule(report);
        rule->name = text(rules[i][0]);
        rule->file = text(rules[i][1]);
        rule->state = text(rules[i][2]);
        rule->error = text(rules[i][3]);
        rule->evaluations = 120;
        rule->cost_ns = 2400000;
    }
    si__report_loss *loss = si__report_add_loss(report);
    loss->name = text("samples");
    loss->made = 9000;
    loss->stored = 8987;
    loss->dropped = 13;
    loss->reason = text("the ring was full");
}

static void set_context(made *m, si__report *report) {
    si__context *c = &report->context;
    c->app = text(m->app);
    c->environment = text(m->environment);
    c->app_version = text(m->version);
    c->host = text(m->host);
    c->runtime_type = text("C");
    c->runtime_version = text("glibc 2.36");
    c->build_id = text("a3f09c11d7e24b55");
    c->run_id = text("00112233445566778899aabbccddeeff");
    c->agent_version = text("0.1.0");
    c->os = text("Linux 6.1.0 x86_64");
    c->pid = 4117;
}

static void identify(made *m, si__report *report, int64_t sequence) {
    uint64_t seed = 1469598103934665603ull;
    for (const char *s = m->host; *s; s++) seed = (seed ^ (unsigned char)*s) * 1099511628211ull;
    memcpy(report->id.agent, &seed, sizeof seed);
    seed ^= strlen(m->version) * 31 + (unsigned char)m->version[strlen(m->version) - 1];
    memcpy(report->id.boot, &seed, sizeof seed);
    report->id.sequence = (uint64_t)sequence;
}

static int put_report(const si__report *report) {
    uint8_t *bytes;
    size_t length;
    if (si__report_encode(report, &bytes, &length)) return -1;
    uint8_t head[4] = {(uint8_t)length, (uint8_t)(length >> 8), (uint8_t)(length >> 16), (uint8_t)(length >> 24)};
    int failed = fwrite(head, 1, 4, stdout) != 4 || fwrite(bytes, 1, length, stdout) != length;
    free(bytes);
    return failed ? -1 : 0;
}

static int make_report(made *m, int64_t minute) {
    si__report *report = si__report_new();
    if (!report) return -1;
    identify(m, report, m->minutes - minute + 1);
    report->end_ms = m->now_ms - minute * MINUTE_MS;
    report->start_ms = report->end_ms - MINUTE_MS;
    set_context(m, report);
    add_profile("cpu", "ns", make_tree(m), report);
    add_other_profiles(m, report, minute);
    add_segment(m, report, "checkout", "segment", 40000000);
    add_segment(m, report, "GET /search", "http_handler", 90000000)->tree = waiting_tree(minute);
    add_segment(m, report, "GET " XSS, "http_handler", 9000000);
    add_segment(m, report, "GET http://prices.internal/", "http_client", 30000000)->tree = waiting_tree(minute);
    add_segment(m, report, "SELECT FROM orders", "sql", 7000000);
    add_segment(m, report, XSS, "segment", 3000000);
    add_error(report, "payment refused", "card declined by gateway (code 51)", 3);
    add_error(report, XSS, XSS, 1);
    add_point(report, "process.cpu.utilization", "1", 0.2 + (double)(next_random(m) % 100) / 1000);
    add_point(report, "process.memory.usage", "By", 4e8 + (double)(next_random(m) % 10000000));
    add_point(report, "system.cpu.utilization", "1", 0.4);
    add_point(report, XSS, "1", 0.5);
    add_state(report);
    if (minute == 0) add_alert(m, report);
    int failed = put_report(report);
    si__report_free(report);
    return failed;
}

int main(int argc, char **argv) {
    if (argc < 7) {
        fprintf(stderr, "usage: made_reports APP ENV HOST VERSION MINUTES NOW_MS [HEAT]\n");
        return 2;
    }
    made m = {argv[1], argv[2], argv[3], argv[4], atoll(argv[5]), atoll(argv[6]), argc > 7 ? atoll(argv[7]) : 100, 42};
    for (int64_t minute = m.minutes - 1; minute >= 0; minute--)
        if (make_report(&m, minute)) return 1;
    return fflush(stdout) ? 1 : 0;
}
