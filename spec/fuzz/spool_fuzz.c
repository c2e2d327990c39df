/*
 * Fuzzes the scan of a spool file: every stretch is told once, in order, as a record that proves itself or as damage;
 * and a record that is written behind anything is found.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/report/spool_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct seen {
    size_t at, records;
    si__spool_found last;
} seen;

static void on_found(void *arg, const si__spool_found *record) {
    seen *s = arg;
    if (record->offset != s->at) abort();
    s->at += SI__SPOOL_HEAD_BYTES + record->length;
    s->records++;
    s->last = *record;
}

static void on_damaged(void *arg, size_t offset, size_t bytes) {
    seen *s = arg;
    if (offset != s->at || bytes == 0) abort();
    s->at += bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t payload[] = "a report";
    seen first = {0}, second = {0};
    si__spool_scan(data, size, on_found, on_damaged, &first);
    if (first.at != size) abort();

    size_t length = size + SI__SPOOL_HEAD_BYTES + sizeof payload;
    uint8_t *longer = malloc(length);
    si__spool_found record = {
        .klass = SI__SPOOL_METRICS, .payload = payload, .length = sizeof payload, .id.sequence = 77};
    if (size) memcpy(longer, data, size);
    si__spool_head_write(longer + size, &record);
    memcpy(longer + size + SI__SPOOL_HEAD_BYTES, payload, sizeof payload);
    si__spool_scan(longer, length, on_found, on_damaged, &second);
    if (second.records != first.records + 1 || second.last.id.sequence != 77) abort();
    free(longer);
    return 0;
}
