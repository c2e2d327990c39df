/* Profiles of every type through the recorder: waits by category, allocations against the live table, frames with names
   instead of addresses, stacks of calls; from a region as the probe leaves it to resolved trees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../collectors/native/wait_call.h"
#include "../../runtime/profile/resolve.h"
#include "../../runtime/recorder.h"
#include "../../runtime/waiting.h"

static si__region *region;
static int region_fd;
static si__recorder *recorder;
static si__source *source;
static si__space space;

static int set_up(void **state) {
    int error;
    (void)state;
    region = si__region_create(&region_fd, &error);
    recorder = si__recorder_new(1);
    source = si__recorder_source_new(recorder, region);
    space = (si__space){.serial = 7, .names = region};
    si__recorder_enable(recorder, (1u << SI__PROFILE_TYPES) - 1);
    return region && recorder && source ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    si__recorder_free(recorder);
    si__region_unmap(region);
    close(region_fd);
    return 0;
}

/* As the probe names a frame. */
static uint64_t name(uint32_t index, const char *function, const char *file, uint32_t line) {
    si__name *n = si__region_name(region, index);
    strcpy(n->function, function);
    strcpy(n->file, file);
    n->line = line;
    atomic_store(&n->hash, index + 1);
    atomic_store(&n->state, 2);
    return si__name_pc(index);
}

static void event(si__event_type type, uint32_t detail, uint64_t leaf, int64_t value, uint32_t count, const void *text,
                  uint32_t text_bytes) {
    uint64_t pcs[] = {leaf, name(1, "serve", "app.lua", 12)};
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const si__drained_event e = {.type = type,
                                 .time_ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec,
                                 .detail = detail,
                                 .value = value,
                                 .count = count,
                                 .frame_count = 2,
                                 .pcs = pcs,
                                 .text = text,
                                 .text_bytes = text_bytes};
    si__recorder_event(recorder, source, &space, &e);
}

/* As the probe enters a sampled allocation. */
static void live(uint32_t index, uint64_t address, uint64_t serial, int64_t bytes, uint64_t objects_q16) {
    si__live *entry = si__region_live(region, index);
    atomic_fetch_or(&region->live_chunks[0], 1); /* the first page of the table is in use */
    atomic_store(&entry->serial, serial);
    atomic_store(&entry->bytes, bytes);
    atomic_store(&entry->objects_q16, objects_q16);
    atomic_store(&entry->address, address);
}

static void allocate(uint32_t index, uint64_t serial, uint64_t leaf, int64_t bytes) {
    live(index, 0x1000 + index * 16, serial, bytes, 65536 + 32768);
    event(SI__EVENT_ALLOC, index, leaf, bytes, 1, &serial, sizeof serial);
}

static si__report *cut(void) {
    si__unresolved_list list;
    si__report *report = si__report_new();
    si__symbolizer *symbolizer = si__symbolizer_new(0);
    assert_int_equal(si__recorder_cut(recorder, 1700000000000, 2, report, &list), 0);
    for (size_t i = 0; i < list.count; i++) {
        *list.items[i].tree = si__resolve(list.items[i].raw, symbolizer);
        si__rawprofile_free(list.items[i].raw);
    }
    free(list.items);
    si__symbolizer_free(symbolizer);
    return report;
}

static const si__report_profile *profile_of(const si__report *report, const char *type) {
    for (size_t i = 0; i < report->profile_count; i++)
        if (strcmp(report->profiles[i].type, type) == 0) return &report->profiles[i];
    fail_msg("no profile of type %s", type);
    return NULL;
}

/* Total of the nodes whose function is that one. */
static int64_t self_of(const si__calltree *tree, const char *function, uint64_t *count) {
    int64_t sum = 0;
    *count = 0;
    for (size_t i = 1; i < si__calltree_node_count(tree); i++) {
        const si__node *n = si__calltree_node_at(tree, i);
        if (strcmp(si__calltree_frame_at(tree, n->frame)->function, function) != 0) continue;
        sum += n->self_value;
        *count += n->self_count;
    }
    return sum;
}

static void waits_go_to_their_category(void **state) {
    (void)state;
    static const char *const types[] = {"lock", "network", "system", "channel"};
    uint64_t leaf = name(2, "pthread_mutex_lock", "", 0), count;
    for (uint32_t c = 0; c < SI__WAIT_CATEGORIES; c++) event(SI__EVENT_WAIT, c, leaf, 1000 * (c + 1), c + 1, "", 0);
    event(SI__EVENT_WAIT, SI__WAIT_CATEGORIES, leaf, 99, 1, "", 0); /* hostile: no such category */
    si__report *report = cut();
    assert_int_equal(report->profile_count, SI__PROFILE_TYPES);
    for (uint32_t c = 0; c < SI__WAIT_CATEGORIES; c++) {
        const si__report_profile *p = profile_of(report, types[c]);
        assert_string_equal(p->unit, "ns");
        assert_int_equal(si__calltree_total_value(p->tree), 1000 * (c + 1));
        assert_int_equal(self_of(p->tree, "pthread_mutex_lock", &count), 1000 * (c + 1));
        assert_int_equal(count, c + 1);
    }
    si__report_free(report);
}

static void frames_may_have_names_instead_of_addresses(void **state) {
    (void)state;
    event(SI__EVENT_CPU, 0, name(3, "render", "page.lua", 40), 5, 1, "", 0);
    event(SI__EVENT_CPU, 0, si__name_pc(4000), 7, 1, "", 0);                  /* nobody wrote that one */
    event(SI__EVENT_CPU, 0, si__name_pc(SI__NAME_COUNT + 5000), 7, 1, "", 0); /* and that one lies outside */
    si__report *report = cut();
    const si__calltree *tree = profile_of(report, "cpu")->tree;
    uint64_t count;
    assert_int_equal(self_of(tree, "render", &count), 5);
    assert_int_equal(self_of(tree, "[anonymous]", &count), 14);
    for (size_t i = 1; i < si__calltree_node_count(tree); i++) {
        const si__frame *f = si__calltree_frame_at(tree, si__calltree_node_at(tree, i)->frame);
        if (strcmp(f->function, "render") != 0) continue;
        assert_string_equal(f->file, "page.lua");
        assert_int_equal(f->line, 40);
        assert_string_equal(
            si__calltree_frame_at(tree, si__calltree_node_at(tree, si__calltree_node_at(tree, i)->parent)->frame)
                ->function,
            "serve");
    }
    si__report_free(report);
}

static void the_live_table_says_what_is_live(void **state) {
    (void)state;
    uint64_t load = name(5, "load", "", 0), parse = name(6, "parse", "", 0), count;
    allocate(10, 1, load, 4000);
    allocate(11, 2, parse, 1000);
    allocate(12, 3, parse, 500);
    live(12, 0, 3, 500, 65536); /* released */
    allocate(13, 4, load, 70);
    live(13, 0x9000, 5, 300, 65536); /* released, and its place taken by one whose event was lost */
    si__report *report = cut();
    const si__report_profile *heap = profile_of(report, "heap");
    assert_string_equal(heap->unit, "bytes");
    assert_int_equal(si__calltree_total_value(heap->tree), 5300);
    assert_int_equal(self_of(heap->tree, "load", &count), 4000);
    assert_int_equal(self_of(heap->tree, "parse", &count), 1000);
    assert_int_equal(heap->samples, 4); /* 1.5 + 1.5 + 1 objects */
    assert_int_equal(si__calltree_total_value(profile_of(report, "alloc")->tree), 5570);
    si__report_free(report);

    report = cut(); /* nothing new: still live, and nothing was allocated */
    assert_int_equal(si__calltree_total_value(profile_of(report, "heap")->tree), 5300);
    assert_int_equal(si__calltree_total_value(profile_of(report, "alloc")->tree), 0);
    si__report_free(report);
}

static void what_a_process_leaves_is_in_the_whole_run(void **state) {
    (void)state;
    allocate(1, 1, name(5, "load", "", 0), 4096);
    si__source *child = si__recorder_source_new(recorder, region);
    si__recorder_source_end(recorder, child); /* it never allocated */
    si__recorder_source_end(recorder, source);
    source = NULL;
    si__rawprofile *raw = si__recorder_whole_run(recorder, SI__PROFILE_HEAP);
    assert_int_equal(raw->total_value, 4096);
    si__rawprofile_free(raw);
    si__report *report = cut(); /* and in the last report */
    assert_int_equal(si__calltree_total_value(profile_of(report, "heap")->tree), 4096);
    si__report_free(report);
    report = cut();
    assert_int_equal(si__calltree_total_value(profile_of(report, "heap")->tree), 0);
    si__report_free(report);
}

static void live_samples_survive_a_full_stack_table(void **state) {
    (void)state;
    si__binary binary = {.references = 1, .serial = 1, .path = "p", .name = "p", .sigreturn_offset = UINT64_MAX};
    si__mapping mapping = {.start = 0x1000, .end = UINT64_C(1) << 46, .binary = &binary};
    const si__space code = {.serial = 9, .mappings = &mapping, .count = 1};
    si__recorder_free(recorder);
    recorder = si__recorder_new(0); /* what is not live is collected */
    source = si__recorder_source_new(recorder, region);
    si__recorder_enable(recorder, 1u << SI__PROFILE_HEAP);
    allocate(1, 1, name(5, "load", "", 0), 4096);
    uint64_t pcs[128];
    for (uint64_t i = 0; i < 6000; i++) {
        for (uint64_t f = 0; f < 128; f++) pcs[f] = 0x10000 + i * 131072 + f * 64;
        const si__drained_event e = {.type = SI__EVENT_ERROR, .count = 1, .frame_count = 128, .pcs = pcs, .text = ""};
        si__recorder_event(recorder, source, &code, &e);
        if (i != 3000 && i != 5999) continue;
        si__report *report = cut();
        uint64_t count;
        assert_int_equal(self_of(profile_of(report, "heap")->tree, "load", &count), 4096);
        si__report_free(report);
    }
}

static void calls_bring_the_stacks_they_came_from(void **state) {
    (void)state;
    static const char what[] = "SELECT FROM orders";
    uint64_t from = name(8, "list_orders", "shop.c", 80), count;
    event(SI__EVENT_CALL, SI__INSTRUMENT_CALL_SQL, from, 2000000, 4, what, sizeof what);
    event(SI__EVENT_CALL, SI__INSTRUMENT_CALL_SQL, from, 1, 1, "DELETE", 6); /* its count was never seen */
    event(SI__EVENT_CALL, 4242, from, 1, 1, what, sizeof what);              /* hostile: no such kind */
    const si__drained_instrument counted = {
        .kind = SI__INSTRUMENT_CALL_SQL, .name = what, .count = 4, .sum_ns = 2100000, .max_ns = 900000};
    si__recorder_tally(recorder, &counted);
    si__report *report = cut();
    assert_int_equal(report->segment_count, 1);
    const si__report_segment *s = &report->segments[0];
    assert_string_equal(s->name, what);
    assert_string_equal(s->kind, "sql");
    assert_non_null(s->tree);
    assert_int_equal(self_of(s->tree, "list_orders", &count), 2000000);
    assert_int_equal(count, 4);
    si__report_free(report);
}

static int64_t waited; /* what was recorded so far, of the regular profile and of the whole run */
static int64_t waited_whole;

static void add_waited(void *arg, const si__drained_event *e) {
    (void)arg;
    assert_int_equal(e->type, SI__EVENT_WAIT);
    assert_int_equal(e->detail, SI__WAIT_LOCK);
    waited += e->value - e->reported;
    if (!e->in_progress) waited_whole += e->value;
}

/* As the probe publishes that slot 0 waits for a mutex since `since_ns`. */
static void wait_since(uint32_t sequence, uint64_t since_ns) {
    si__slot *slot = si__region_slot(region, 0);
    si__wait_now *now = si__region_wait(region, 0);
    atomic_store(&slot->tid, 4711);
    atomic_store(&slot->state, SI__SLOT_LIVE);
    strcpy(slot->name, "worker");
    atomic_store(&region->slots_used, 1);
    atomic_store(&now->tid, 4711);
    atomic_store(&now->sequence, sequence);
    atomic_store(&now->since, since_ns);
    atomic_store(&now->caller_pc, 0x5000);
    atomic_store(&now->call, since_ns ? SI__CALL_pthread_mutex_lock : SI__CALL_NONE);
}

static void a_wait_that_lasts_is_seen_and_counted_once(void **state) {
    (void)state;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t since = (uint64_t)(t.tv_sec - 40) * 1000000000; /* 40 s ago */
    si__waiting_threads *waits = si__waiting_new(region, getpid());
    si__stuck stuck;
    waited = waited_whole = 0;
    wait_since(8, since);
    si__waiting_report(waits, 1, add_waited, NULL);
    assert_true(waited >= 40000000000 && waited < 1000000000000);
    int64_t first = waited;
    si__waiting_report(waits, 1, add_waited, NULL); /* the next report has the rest alone */
    assert_true(waited >= first && waited < first + 1000000000000);
    si__waiting_stuck(waits, &stuck);
    assert_true(stuck.seconds[SI__WAIT_LOCK] >= 40 && stuck.seconds[SI__WAIT_NETWORK] < 1);
    int seconds;
    char call[40];
    assert_int_equal(sscanf(stuck.words, "thread 4711 (worker) has waited %d s in %39s", &seconds, call), 2);
    assert_in_range(seconds, 40, 1000);
    assert_string_equal(call, "pthread_mutex_lock");

    wait_since(8, 0); /* it ends, and its event comes */
    const si__wait_text text = {.sequence = 8, .call = SI__CALL_pthread_mutex_lock};
    si__drained_event end = {.type = SI__EVENT_WAIT,
                             .value = 100000000000,
                             .detail = SI__WAIT_LOCK,
                             .text = (const char *)&text,
                             .text_bytes = sizeof text};
    si__waiting_ended(waits, &end);
    add_waited(NULL, &end);
    assert_int_equal(waited, 100000000000);
    assert_int_equal(waited_whole, 100000000000);

    wait_since(9, since + 30000000000); /* another one, that the process dies in */
    si__waiting_report(waits, 0, add_waited, NULL);
    assert_true(waited_whole >= 110000000000 && waited_whole < 1000000000000);
    si__waiting_free(waits);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(waits_go_to_their_category, set_up, tear_down),
        cmocka_unit_test_setup_teardown(frames_may_have_names_instead_of_addresses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_live_table_says_what_is_live, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_process_leaves_is_in_the_whole_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(live_samples_survive_a_full_stack_table, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wait_that_lasts_is_seen_and_counted_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(calls_bring_the_stacks_they_came_from, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
