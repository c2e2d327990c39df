/* What the tests of the spool share: records that can be told to be whole, and a directory of their own. */
#ifndef SPOOL_FIXTURE_H
#define SPOOL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/report/spool.h"
#include "alloc_fail.h"
#include "temporary_dir.h"

#define ON_DISK(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

static int64_t now_ms; /* when the tests began, Unix; main sets it */

static const si__spool_limits small_floor = {.free_floor_bytes = 1};

static inline si__report_id id_of(uint64_t sequence) {
    si__report_id id = {.sequence = sequence};
    memset(id.agent, 0xa1, sizeof id.agent);
    memset(id.boot, 0xb0, sizeof id.boot);
    return id;
}

/* A payload that can be told to be whole: its length and bytes follow from the sequence. */
static inline size_t payload_of(uint64_t sequence, uint8_t *out) {
    size_t length = 50 + sequence * 37 % 500;
    for (size_t i = 0; i < length; i++) out[i] = (uint8_t)(sequence * 31 + i * 7);
    return length;
}

static inline void put(si__spool *spool, uint64_t sequence, si__spool_class klass) {
    uint8_t payload[600];
    size_t length = payload_of(sequence, payload);
    si__report_id id = id_of(sequence);
    si__spool_put(spool, &id, klass, payload, length, now_ms + (int64_t)sequence);
}

static inline void assert_whole(const si__spool_record *record) {
    uint8_t payload[600];
    size_t length = payload_of(record->id.sequence, payload);
    assert_int_equal(record->length, length);
    assert_memory_equal(record->payload, payload, length);
}

static inline si__spool_counts counts_of(si__spool *spool) {
    si__spool_counts c;
    si__spool_counts_get(spool, &c);
    assert_int_equal(c.made, c.acked + c.pending + c.dropped_size + c.dropped_age + c.dropped_disk +
                                 c.dropped_rejected + c.damaged);
    return c;
}

static inline si__spool *open_spool(const char *dir, const si__spool_limits *limits) {
    si__spool *spool;
    char error[200];
    int status = si__spool_open(dir, limits, &spool, error, sizeof error);
    if (status) fail_msg("spool does not open: %d (%s)", status, error);
    return spool;
}

/* Takes all there is; returns a bit per sequence (below 64), and checks each. */
static inline uint64_t take_all(si__spool *spool, int ack) {
    uint64_t seen = 0;
    si__spool_record record;
    while (si__spool_take(spool, &record) == SI_OK) {
        assert_whole(&record);
        if (record.id.sequence < 64) seen |= 1ull << record.id.sequence;
        free(record.payload);
        if (ack) si__spool_ack(spool, record.handle);
    }
    return seen;
}

static inline unsigned files_in(const char *dir, const char *sub, const char *ending) {
    char path[400];
    unsigned n = 0;
    snprintf(path, sizeof path, "%s/%s", dir, sub);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t length = strlen(e->d_name);
        n += e->d_name[0] != '.' && length >= strlen(ending) && !strcmp(e->d_name + length - strlen(ending), ending);
    }
    if (d) closedir(d);
    return n;
}

static inline int make_dir(void **state) {
    char *dir = malloc(64);
    temporary_dir_make(dir);
    *state = dir;
    return 0;
}

static inline int remove_dir(void **state) {
    alloc_fail_at(0);
    temporary_dir_remove(*state);
    free(*state);
    return 0;
}

#endif
