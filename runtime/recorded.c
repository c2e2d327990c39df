/* Errors and timings between two cuts. A few hundred names at most: linear search, once per name and drain. */
#include "recorded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../collectors/native/bucket.h"

enum { MAX_GROUPS = 512, MAX_SEGMENTS = SI__INSTRUMENT_COUNT };

si__recorded_error *si__recorded_error_get(si__recorded_errors *errors, const char *group) {
    for (size_t i = 0; i < errors->count; i++)
        if (strcmp(errors->items[i].group, group) == 0) return &errors->items[i];
    if (errors->count == MAX_GROUPS) return NULL;
    si__recorded_error *grown = realloc(errors->items, (errors->count + 1) * sizeof *grown);
    if (!grown) return NULL;
    errors->items = grown;
    si__recorded_error *error = &grown[errors->count];
    memset(error, 0, sizeof *error);
    error->profile = si__profile_new();
    if (!error->profile) return NULL;
    snprintf(error->group, sizeof error->group, "%s", group);
    errors->count++;
    return error;
}

void si__recorded_errors_drop_uncounted(si__recorded_errors *errors) {
    size_t kept = 0;
    for (size_t i = 0; i < errors->count; i++) {
        if (errors->items[i].count)
            errors->items[kept++] = errors->items[i];
        else
            si__profile_free(errors->items[i].profile);
    }
    errors->count = kept;
}

void si__recorded_errors_clear(si__recorded_errors *errors) {
    for (size_t i = 0; i < errors->count; i++) si__profile_free(errors->items[i].profile);
    free(errors->items);
    *errors = (si__recorded_errors){0};
}

static si__recorded_segment *segment_get(si__recorded_segments *segments, const char *name, si__instrument_kind kind) {
    for (size_t i = 0; i < segments->count; i++)
        if (segments->items[i].kind == kind && strcmp(segments->items[i].name, name) == 0) return &segments->items[i];
    if (segments->count == MAX_SEGMENTS) return NULL;
    si__recorded_segment *grown = realloc(segments->items, (segments->count + 1) * sizeof *grown);
    if (!grown) return NULL;
    segments->items = grown;
    si__recorded_segment *segment = &grown[segments->count];
    *segment = (si__recorded_segment){.name = strdup(name), .kind = kind, .sketch = si__sketch_new()};
    if (!segment->name || !segment->sketch) {
        free(segment->name);
        if (segment->sketch) si__sketch_free(segment->sketch);
        return NULL;
    }
    segments->count++;
    return segment;
}

void si__recorded_segment_add(si__recorded_segments *segments, const char *name, const si__drained_instrument *gained) {
    si__recorded_segment *segment = segment_get(segments, name, gained->kind);
    if (!segment) return;
    segment->count += gained->count;
    segment->errors += gained->errors;
    segment->sum_ns += gained->sum_ns;
    if (gained->max_ns > segment->max_ns) segment->max_ns = gained->max_ns;
    for (uint32_t i = 0; gained->buckets && i < SI__BUCKET_COUNT; i++)
        if (gained->buckets[i]) si__sketch_add_bucket(segment->sketch, i, gained->buckets[i]);
}

void si__recorded_segment_stack(si__recorded_segments *segments, const char *name, si__instrument_kind kind,
                                uint32_t node, int64_t value_ns, uint64_t count, uint64_t duration_ns) {
    si__recorded_segment *segment = segment_get(segments, name, kind);
    if (!segment) return;
    if (!segment->profile) segment->profile = si__profile_new();
    if (!segment->profile) return;
    si__profile_add(segment->profile, node, value_ns, count);
    if (!duration_ns || segments->buckets >= SI__PATH_BUCKETS) return;
    int buckets = si__profile_spread(segment->profile, node, duration_ns, count);
    if (buckets > 0) segments->buckets += (size_t)buckets;
}

static void free_segment(si__recorded_segment *segment) {
    free(segment->name);
    if (segment->sketch) si__sketch_free(segment->sketch);
    if (segment->profile) si__profile_free(segment->profile);
}

void si__recorded_segments_drop_uncounted(si__recorded_segments *segments) {
    size_t kept = 0;
    for (size_t i = 0; i < segments->count; i++) {
        if (segments->items[i].count)
            segments->items[kept++] = segments->items[i];
        else
            free_segment(&segments->items[i]);
    }
    segments->count = kept;
}

void si__recorded_segments_clear(si__recorded_segments *segments) {
    for (size_t i = 0; i < segments->count; i++) free_segment(&segments->items[i]);
    free(segments->items);
    *segments = (si__recorded_segments){0};
}

const char *si__instrument_kind_name(si__instrument_kind kind) {
    switch (kind) {
    case SI__INSTRUMENT_SEGMENT:
        return "segment";
    case SI__INSTRUMENT_HANDLER:
        return "http_handler";
    case SI__INSTRUMENT_CALL_HTTP:
        return "http_client";
    case SI__INSTRUMENT_CALL_SQL:
        return "sql";
    case SI__INSTRUMENT_CALL_CACHE:
        return "cache";
    case SI__INSTRUMENT_CALL_DOCUMENT:
        return "document";
    default:
        return "call";
    }
}
