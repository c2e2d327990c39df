/*
 * The quantile sketch: a sorted array of the buckets that were hit. Filled by the runtime from the buckets of the
 * shared region, and by the report decoder; merged by whoever aggregates. One owner at a time.
 */
#include "sketch.h"

#include <stdlib.h>
#include <string.h>

#include "../../collectors/native/bucket.h"
#include "si/si.h"
#include "varint.h"

typedef struct entry {
    uint32_t bucket;
    uint64_t count; /* never 0 */
} entry;

struct si__sketch {
    entry *entries; /* sorted by bucket */
    uint32_t used, capacity;
    uint64_t count; /* sum of all entries */
};

si__sketch *si__sketch_new(void) {
    return calloc(1, sizeof(si__sketch));
}

void si__sketch_free(si__sketch *sketch) {
    if (!sketch) return;
    free(sketch->entries);
    free(sketch);
}

/* The place of the first entry that is not below `bucket`. */
static uint32_t lower_bound(const si__sketch *sketch, uint32_t bucket) {
    uint32_t lo = 0, hi = sketch->used;
    while (lo < hi) {
        uint32_t middle = (lo + hi) / 2;
        if (sketch->entries[middle].bucket < bucket)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo;
}

static int reserve(si__sketch *sketch, uint32_t wanted) {
    if (wanted <= sketch->capacity) return 0;
    uint32_t capacity = sketch->capacity + sketch->capacity / 2 + 8;
    if (capacity < wanted) capacity = wanted;
    entry *entries = realloc(sketch->entries, capacity * sizeof *entries);
    if (!entries) return SI_ENOMEM;
    sketch->entries = entries;
    sketch->capacity = capacity;
    return 0;
}

int si__sketch_add_bucket(si__sketch *sketch, uint32_t bucket, uint64_t count) {
    if (bucket >= SI__BUCKET_COUNT) bucket = SI__BUCKET_COUNT - 1;
    if (count > UINT64_MAX - sketch->count) count = UINT64_MAX - sketch->count;
    if (count == 0) return 0;
    uint32_t at = lower_bound(sketch, bucket);
    if (at == sketch->used || sketch->entries[at].bucket != bucket) {
        if (reserve(sketch, sketch->used + 1)) return SI_ENOMEM;
        memmove(&sketch->entries[at + 1], &sketch->entries[at], (sketch->used - at) * sizeof(entry));
        sketch->entries[at] = (entry){.bucket = bucket};
        sketch->used++;
    }
    sketch->entries[at].count += count;
    sketch->count += count;
    return 0;
}

int si__sketch_add(si__sketch *sketch, uint64_t value_ns, uint64_t count) {
    return si__sketch_add_bucket(sketch, si__bucket_index(value_ns), count);
}

/* Both are sorted, so the places of the result are filled from its end: what is moved was read before. */
int si__sketch_merge(si__sketch *into, const si__sketch *from) {
    if (from->count > UINT64_MAX - into->count) { /* hostile numbers: one by one, no entry may end up with 0 */
        if (reserve(into, into->used + from->used)) return SI_ENOMEM;
        for (uint32_t i = 0; i < from->used; i++)
            (void)si__sketch_add_bucket(into, from->entries[i].bucket, from->entries[i].count);
        return 0;
    }
    uint32_t fresh =
        0; /* buckets that `into` does not have: reserved first, so that the merge is whole or not at all */
    for (uint32_t i = 0, j = 0; i < from->used; i++) {
        while (j < into->used && into->entries[j].bucket < from->entries[i].bucket) j++;
        fresh += j == into->used || into->entries[j].bucket != from->entries[i].bucket;
    }
    if (reserve(into, into->used + fresh)) return SI_ENOMEM;
    uint32_t to = into->used + fresh, mine = into->used, theirs = from->used;
    into->used = to;
    into->count += from->count;
    while (theirs) {
        if (mine && into->entries[mine - 1].bucket > from->entries[theirs - 1].bucket) {
            into->entries[--to] = into->entries[--mine];
            continue;
        }
        entry sum = {.bucket = from->entries[theirs - 1].bucket};
        if (mine && into->entries[mine - 1].bucket == sum.bucket) sum.count = into->entries[--mine].count;
        sum.count += from->entries[--theirs].count;
        into->entries[--to] = sum;
    }
    return 0;
}

size_t si__sketch_buckets(const si__sketch *sketch) {
    return sketch->used;
}

uint64_t si__sketch_count(const si__sketch *sketch) {
    return sketch->count;
}

double si__sketch_quantile(const si__sketch *sketch, double q) {
    if (sketch->count == 0) return 0;
    double wanted = (q > 0 ? q < 1 ? q : 1 : 0) * (double)sketch->count; /* NaN counts as 0 */
    uint64_t rank = wanted >= (double)sketch->count ? sketch->count : (uint64_t)wanted;
    rank += (double)rank < wanted || rank == 0; /* round up, at least the first */
    uint64_t seen = 0;
    uint32_t i = 0;
    while (i + 1 < sketch->used && seen + sketch->entries[i].count < rank) seen += sketch->entries[i++].count;
    return si__bucket_mid(sketch->entries[i].bucket);
}

size_t si__sketch_encode(const si__sketch *sketch, uint8_t *out, size_t cap) {
    size_t needed = 0;
    for (uint32_t i = 0; i < sketch->used; i++) {
        uint8_t bytes[2 * SI__VARINT_MAX];
        uint32_t previous = i ? sketch->entries[i - 1].bucket : 0;
        size_t n = si__varint_put(bytes, sketch->entries[i].bucket - previous);
        n += si__varint_put(bytes + n, sketch->entries[i].count);
        if (needed < cap) memcpy(out + needed, bytes, n <= cap - needed ? n : cap - needed);
        needed += n;
    }
    return needed;
}

/* The entry behind those of `sketch`, for which the last bucket and the count of all are asked alone. Refuses what
   encode never writes. Returns the bytes read; 0: malformed. */
static size_t next_entry(const si__sketch *sketch, uint32_t last, const uint8_t *data, size_t length, entry *out) {
    uint64_t delta = 0, count = 0;
    size_t a = si__varint_get(data, length, &delta);
    size_t b = a ? si__varint_get(data + a, length - a, &count) : 0;
    if (!b || delta >= SI__BUCKET_COUNT - last || (sketch->used && delta == 0)) return 0;
    if (count == 0 || count > UINT64_MAX - sketch->count) return 0;
    *out = (entry){.bucket = last + (uint32_t)delta, .count = count};
    return a + b;
}

si__sketch *si__sketch_decode(const uint8_t *data, size_t length) {
    si__sketch *sketch = si__sketch_new();
    entry e = {0};
    for (size_t at = 0; sketch && at < length;) {
        size_t n = next_entry(sketch, e.bucket, data + at, length - at, &e);
        if (!n || reserve(sketch, sketch->used + 1)) {
            si__sketch_free(sketch);
            return NULL;
        }
        sketch->entries[sketch->used++] = e;
        sketch->count += e.count;
        at += n;
    }
    return sketch;
}

/* Reads to the end; *count is of all. 1: nothing is wrong with it. */
static int count_encoded(const uint8_t *data, size_t length, uint64_t *count) {
    si__sketch seen = {0};
    entry e = {0};
    for (size_t at = 0, n; at < length; at += n) {
        if (!(n = next_entry(&seen, e.bucket, data + at, length - at, &e))) return 0;
        seen.used++;
        seen.count += e.count;
    }
    *count = seen.count;
    return 1;
}

int si__sketch_valid(const uint8_t *data, size_t length) {
    uint64_t count;
    return count_encoded(data, length, &count);
}

/* Thousands are added to one when percentiles of a long time are asked for: soon it has all buckets, and each number is
   added where it belongs while both lists are walked. */
static int add_known(si__sketch *into, const uint8_t *data, size_t length) {
    si__sketch seen = {0};
    entry e = {0};
    uint32_t at = 0;
    for (size_t read = 0; read < length; seen.used++) {
        read += next_entry(&seen, e.bucket, data + read, length - read, &e);
        while (at < into->used && into->entries[at].bucket < e.bucket) at++;
        if (at < into->used && into->entries[at].bucket == e.bucket) {
            into->entries[at].count += e.count;
            into->count += e.count;
        } else if (si__sketch_add_bucket(into, e.bucket, e.count)) {
            return SI_ENOMEM; /* never: there is room */
        }
    }
    return 0;
}

int si__sketch_merge_encoded(si__sketch *into, const uint8_t *data, size_t length) {
    uint64_t count;
    if (!count_encoded(data, length, &count)) return SI_EFORMAT;
    if (count <= UINT64_MAX - into->count) /* an entry has two bytes at least */
        return reserve(into, into->used + (uint32_t)(length / 2)) ? SI_ENOMEM : add_known(into, data, length);
    si__sketch *from = si__sketch_decode(data, length); /* hostile numbers */
    int failed = from ? si__sketch_merge(into, from) : SI_ENOMEM;
    si__sketch_free(from);
    return failed;
}
