/* The drain against regions that are full of nonsense: written by nobody, by a hostile process, or while it reads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../collectors/native/probe.h"
#include "../../runtime/ring/drain.h"

static si__region *probe, *region; /* the hostile side, and ours */
static si__drain *drain;

static int set_up(void **state) {
    int fd, error;
    (void)state;
    probe = si__region_create(&fd, &error);
    if (!probe) return -1;
    region = si__region_map(fd, &error);
    close(fd);
    drain = region ? si__drain_new(region) : NULL;
    return drain ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    si__drain_free(drain);
    si__region_unmap(region);
    si__region_unmap(probe);
    return 0;
}

typedef struct seen {
    size_t events, bytes;
    uint64_t checksum;
    int wrong;
    int64_t last;
} seen;

/* Touches every byte that is handed over: a sanitizer sees what is out of bounds. */
static void take(void *arg, const si__drained_event *event) {
    seen *s = arg;
    s->events++;
    s->last = event->value;
    if (event->frame_count > SI__FRAMES_MAX || strlen(event->thread_name) > 15 || event->text[event->text_bytes])
        s->wrong++;
    for (unsigned i = 0; i < event->frame_count; i++) s->checksum += event->pcs[i];
    for (uint32_t i = 0; i < event->text_bytes; i++) s->checksum += (unsigned char)event->text[i];
    s->bytes += event->frame_count * 8 + event->text_bytes;
}

static void take_instrument(void *arg, const si__drained_instrument *instrument) {
    seen *s = arg;
    s->events++;
    if (strlen(instrument->name) >= SI__NAME_BYTES || instrument->count == 0) s->wrong++;
    if (!__builtin_isfinite(instrument->value)) s->wrong++;
    for (uint32_t i = 0; instrument->buckets && i < SI__BUCKET_COUNT; i++) s->checksum += instrument->buckets[i];
}

static void put(si__slot *slot, char *ring, int64_t value) {
    uint64_t at = slot->reserve_pos;
    si__event *event = (si__event *)(void *)(ring + at % SI__RING_BYTES);
    event->value = value;
    event->frame_count = 1;
    si__event_pcs(event)[0] = 7;
    slot->reserve_pos = at + sizeof *event + 8;
    atomic_store(&event->head, (uint64_t)SI__EVENT_CPU << 32 | (sizeof *event + 8));
}

static void a_live_ring_is_read_and_a_closed_slot_freed(void **state) {
    (void)state;
    si__slot *slot = si__region_slot(probe, 3);
    char *ring = si__region_ring(probe, 3);
    seen s = {0};
    probe->slots_used = 4;
    slot->state = SI__SLOT_LIVE;
    slot->tid = 99;
    put(slot, ring, 1);
    put(slot, ring, 2);
    slot->dropped = 5;
    assert_int_equal(si__drain_events(drain, take, &s), 2);
    assert_int_equal(s.last, 2);
    put(slot, ring, 3);
    slot->reserve_pos += 16; /* begun, never committed: the thread was killed */
    slot->state = SI__SLOT_CLOSED;
    slot->dropped = 6;
    assert_int_equal(si__drain_events(drain, take, &s), 1);
    assert_int_equal(slot->state, SI__SLOT_FREE);
    assert_int_equal(slot->reserve_pos, 0);
    for (size_t i = 0; i < SI__RING_BYTES; i++) assert_int_equal(ring[i], 0);
    si__drain_counts counts;
    si__drain_counts_get(drain, &counts);
    assert_int_equal(counts.events, 3);
    assert_int_equal(counts.dropped, 6);
    assert_int_equal(counts.malformed, 0);
    slot->state = SI__SLOT_LIVE; /* the next thread in it */
    slot->dropped = 1;
    put(slot, ring, 4);
    assert_int_equal(si__drain_events(drain, take, &s), 1);
    si__drain_counts_get(drain, &counts);
    assert_int_equal(counts.dropped, 7);
}

/* Heads, sizes and counts at the edges of what they may be, each in a ring of its own. */
static void every_impossible_head_gives_the_ring_up(void **state) {
    (void)state;
    static const uint64_t sizes[] = {0,
                                     1,
                                     7,
                                     8,
                                     16,
                                     40,
                                     47,
                                     48,
                                     49,
                                     56,
                                     4096,
                                     SI__RING_BYTES / 2 + 8,
                                     SI__RING_BYTES,
                                     SI__RING_BYTES + 8,
                                     0xfffffff8,
                                     0xffffffff};
    static const uint32_t counts_of[] = {0, 1, 256, 257, 65535}, texts[] = {0, 1, 100, 0x7fffffff, 0xffffffff};
    seen s = {0};
    si__slot *slot = si__region_slot(probe, 0);
    char *ring = si__region_ring(probe, 0);
    probe->slots_used = 1;
    slot->state = SI__SLOT_LIVE;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t k = 0; k < 5; k++)
            for (size_t m = 0; m < 5; m++)
                for (uint64_t type = 0; type < 6; type++) {
                    si__event *event = (si__event *)(void *)ring;
                    memset(ring, 0xa5, SI__RING_BYTES);
                    event->frame_count = (uint16_t)counts_of[k];
                    event->text_bytes = texts[m];
                    event->head = type << 32 | sizes[i];
                    slot->read_pos = 0;
                    slot->reserve_pos = SI__RING_BYTES;
                    si__drain_events(drain, take, &s);
                    /* Read, or given up, or waiting for a commit; never stuck on nonsense. */
                    assert_true(slot->read_pos == SI__RING_BYTES || event->head == 0);
                }
    static const uint64_t positions[] = {1, 4, SI__RING_BYTES + 8, 1ull << 40, ~0ull, ~7ull};
    for (size_t i = 0; i < 6; i++) {
        uint64_t start = i % 2 ? 0 : positions[i];
        memset(ring, 0, SI__RING_BYTES);
        slot->read_pos = start;
        slot->reserve_pos = positions[i] + 24;
        si__drain_events(drain, take, &s);
        /* Impossible: given up. Possible: the event is not committed yet. */
        assert_true(slot->read_pos == slot->reserve_pos || (slot->read_pos == start && start % 8 == 0));
    }
    assert_int_equal(s.wrong, 0);
}

static long blocks_of(int fd) {
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    return (long)st.st_blocks;
}

static void a_reader_makes_untouched_pages_take_no_memory(void **state) {
    (void)state;
    int fd, error;
    si__region *quiet = si__region_create(&fd, &error);
    assert_non_null(quiet);
    long before = blocks_of(fd);
    si__drain *reader = si__drain_new(quiet);
    seen s = {0};
    si__drain_from_zero(reader);
    for (int i = 0; i < 3; i++) {
        si__drain_events(reader, take, &s);
        si__drain_instruments(reader, take_instrument, &s);
        si__drain_stacks_wanted(reader);
    }
    assert_true(blocks_of(fd) - before <= 2 * 4096 / 512); /* the header's pages */
    si__drain_free(reader);
    si__region_unmap(quiet);
    close(fd);
}

static void random_bytes_everywhere_do_no_harm(void **state) {
    (void)state;
    unsigned seed = 4711;
    seen s = {0};
    uint64_t *words = (uint64_t *)(void *)si__region_slot(probe, 0);
    uint64_t *instruments = (uint64_t *)(void *)si__region_instrument(probe, 0);
    char maps[] = "7f0000000000-7f0000100000 rw-p 00000000 00:00 0 \n";
    probe->instrument_pages = ~0ull;
    for (int round = 0; round < 60; round++) {
        for (size_t i = 0; i < 64 * sizeof(si__slot) / 8; i++)
            words[i] = rand_r(&seed) % 3 ? (uint64_t)rand_r(&seed) % 5
                                         : (uint64_t)rand_r(&seed) << 33 ^ (uint64_t)rand_r(&seed);
        for (uint32_t i = 0; i < 64; i++) {
            uint64_t *ring = (uint64_t *)(void *)si__region_ring(probe, i);
            for (size_t k = 0; k < SI__RING_BYTES / 8; k++)
                ring[k] = rand_r(&seed) % 4
                              ? (uint64_t)(2 + rand_r(&seed) % 3) << 32 | (uint64_t)(rand_r(&seed) % 64 * 8)
                              : (uint64_t)rand_r(&seed);
        }
        for (size_t i = 0; i < 128 * sizeof(si__instrument) / 8; i++)
            instruments[i] = rand_r(&seed) % 2 ? 2 | (uint64_t)(rand_r(&seed) % 14) << 32 : ~0ull << rand_r(&seed) % 64;
        probe->slots_used = round % 2 ? 64 : ~0u;
        si__drain_events(drain, take, &s);
        si__drain_instruments(drain, take_instrument, &s);
        si__drain_answer_stacks(drain, maps, sizeof maps - 1);
        si__drain_stacks_wanted(drain);
    }
    si__drain_counts counts;
    si__drain_counts_get(drain, &counts);
    assert_true(counts.malformed > 0);
    assert_int_equal(s.wrong, 0);
    assert_true(s.events > 0);
}

/* A process that writes garbage for as long as we read; another process, so that it is no data race of ours. */
static void a_writer_may_change_everything_while_we_read(void **state) {
    (void)state;
    seen s = {0};
    pid_t child = fork();
    if (child == 0) {
        unsigned seed = 1;
        alarm(30);
        for (;;) {
            uint32_t i = (uint32_t)rand_r(&seed) % 8;
            uint64_t *ring = (uint64_t *)(void *)si__region_ring(probe, i);
            for (size_t k = 0; k < SI__RING_BYTES / 8; k += 6) {
                ring[k] = (uint64_t)(1 + rand_r(&seed) % 4) << 32 | (uint64_t)(rand_r(&seed) % 300 * 8);
                ring[k + 4] = (uint64_t)rand_r(&seed) % 300 << 48;
            }
            si__region_slot(probe, i)->state = SI__SLOT_LIVE + (rand_r(&seed) % 8 == 0);
            si__region_slot(probe, i)->reserve_pos = (uint64_t)rand_r(&seed) % 8192 * 8;
            probe->slots_used = 8;
        }
    }
    for (int i = 0; i < 3000; i++) si__drain_events(drain, take, &s);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(s.wrong, 0);
}

static void what_a_dead_process_left_is_still_there(void **state) {
    (void)state;
    seen s = {0};
    pid_t child = fork();
    if (child == 0) {
        si__slot *slot = si__region_slot(probe, 0);
        probe->slots_used = 1;
        slot->state = SI__SLOT_LIVE;
        for (int i = 1; i <= 10; i++) put(slot, si__region_ring(probe, 0), i);
        kill(getpid(), SIGKILL);
    }
    waitpid(child, NULL, 0);
    assert_int_equal(si__drain_events(drain, take, &s), 10);
    assert_int_equal(s.last, 10);
}

static void stack_bounds_are_answered_only_where_they_fit(void **state) {
    (void)state;
    static const char maps[] = "10000000-10100000 rw-p 00000000 00:00 0 \n"
                               "7ffc00000000-7ffc00200000 rw-p 00000000 00:00 0   [stack]\n";
    si__slot *slots = si__region_slot(probe, 0);
    probe->slots_used = 3;
    for (int i = 0; i < 3; i++) slots[i].state = SI__SLOT_LIVE;
    slots[0].sp_seen = 0x10080000;     /* unknown so far */
    slots[1].sp_seen = 0x7ffc00001000; /* known to itself; reaches lower than it thought */
    slots[1].stack_lo = 0x7ffc00100000;
    slots[1].stack_hi = 0x7ffc001ff000;
    slots[1].flags = SI__SLOT_STACK_SURE;
    slots[2] = slots[1]; /* known to itself; met on another stack */
    slots[2].sp_seen = 0x10080000;
    assert_true(si__drain_stacks_wanted(drain));
    assert_int_equal(si__drain_answer_stacks(drain, maps, sizeof maps - 1), 2);
    assert_false(si__drain_stacks_wanted(drain));
    assert_int_equal(slots[0].stack_lo, 0x10000000);
    assert_int_equal(slots[0].stack_hi, 0x10100000);
    assert_int_equal(slots[1].stack_lo, 0x7ffc00000000);
    assert_int_equal(slots[1].stack_hi, 0x7ffc001ff000);
    assert_int_equal(slots[2].stack_lo, 0x7ffc00100000);
    slots[0].sp_seen = 0x5000; /* nowhere */
    assert_int_equal(si__drain_answer_stacks(drain, maps, sizeof maps - 1), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_makes_untouched_pages_take_no_memory),
        TEST(a_live_ring_is_read_and_a_closed_slot_freed),
        TEST(every_impossible_head_gives_the_ring_up),
        TEST(random_bytes_everywhere_do_no_harm),
        TEST(a_writer_may_change_everything_while_we_read),
        TEST(what_a_dead_process_left_is_still_there),
        TEST(stack_bounds_are_answered_only_where_they_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
