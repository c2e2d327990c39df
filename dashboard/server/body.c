/*
 * Bodies of stored profiles and their sums; see body.h. The writer encodes, the workers that answer requests add up.
 */
#include "body.h"

#include <si/si.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define VERSION 1
#define HAS_VALUES 0x80
#define RAW_LIMIT ((size_t)256 << 20)

struct si__body_codec {
    ZSTD_CCtx *compress;
    ZSTD_DCtx *decompress;
    uint8_t *raw, *packed;
    size_t raw_bytes, packed_bytes;
};

struct si__sum {
    si__entry *slots; /* node UINT32_MAX: empty */
    size_t capacity, count;
};

si__body_codec *si__body_codec_new(void) {
    si__body_codec *codec = calloc(1, sizeof *codec);
    if (!codec) return NULL;
    codec->compress = ZSTD_createCCtx();
    codec->decompress = ZSTD_createDCtx();
    if (codec->compress && codec->decompress) return codec;
    si__body_codec_free(codec);
    return NULL;
}

void si__body_codec_free(si__body_codec *codec) {
    if (!codec) return;
    ZSTD_freeCCtx(codec->compress);
    ZSTD_freeDCtx(codec->decompress);
    free(codec->raw);
    free(codec->packed);
    free(codec);
}

static int reserve(uint8_t **buffer, size_t *bytes, size_t wanted) {
    if (*bytes >= wanted) return SI_OK;
    uint8_t *more = realloc(*buffer, wanted);
    if (!more) return SI_ENOMEM;
    *buffer = more;
    *bytes = wanted;
    return SI_OK;
}

static uint8_t *put_varint(uint8_t *out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) *out++ = (uint8_t)(value | 0x80);
    *out++ = (uint8_t)value;
    return out;
}

/* NULL when the bytes end before the number does. */
static const uint8_t *get_varint(const uint8_t *in, const uint8_t *end, uint64_t *value) {
    uint64_t result = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (in == end) return NULL;
        uint8_t byte = *in++;
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = result;
            return in;
        }
    }
    return NULL;
}

static uint64_t zigzag(uint64_t value) {
    return (value << 1) ^ (uint64_t)((int64_t)value >> 63);
}

static uint64_t unzigzag(uint64_t value) {
    return (value >> 1) ^ (0 - (value & 1));
}

static int by_node(const void *a, const void *b) {
    uint32_t x = ((const si__entry *)a)->node, y = ((const si__entry *)b)->node;
    return (x > y) - (x < y);
}

static size_t join_equal(si__entry *entries, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept && entries[kept - 1].node == entries[i].node) {
            entries[kept - 1].count += entries[i].count;
            entries[kept - 1].value = si__wrap_add(entries[kept - 1].value, entries[i].value);
        } else {
            entries[kept++] = entries[i];
        }
    }
    return kept;
}

int si__body_encode(si__body_codec *codec, si__entry *entries, size_t count, const uint8_t **out, size_t *length) {
    qsort(entries, count, sizeof *entries, by_node);
    count = join_equal(entries, count);
    if (count > RAW_LIMIT / 32) return SI_ENOMEM;
    size_t most = 24 + count * 25, bound = ZSTD_compressBound(most); /* ids <= 5 bytes, counts and values <= 10 */
    if (reserve(&codec->raw, &codec->raw_bytes, most) || reserve(&codec->packed, &codec->packed_bytes, bound))
        return SI_ENOMEM;
    uint64_t unit = 0; /* the value of one sample: with a fixed period all residues are zero */
    for (size_t i = 0; i < count && !unit; i++)
        if (entries[i].count && entries[i].value > 0) unit = (uint64_t)entries[i].value / entries[i].count;
    int has_values = 0;
    for (size_t i = 0; i < count; i++) has_values |= (uint64_t)entries[i].value != entries[i].count * unit;
    uint8_t *at = codec->raw;
    *at++ = (uint8_t)(VERSION | (has_values ? HAS_VALUES : 0));
    at = put_varint(put_varint(at, count), unit);
    uint32_t before = 0;
    for (size_t i = 0; i < count; before = entries[i++].node) at = put_varint(at, entries[i].node - before);
    for (size_t i = 0; i < count; i++) at = put_varint(at, entries[i].count);
    for (size_t i = 0; has_values && i < count; i++)
        at = put_varint(at, zigzag((uint64_t)entries[i].value - entries[i].count * unit));
    size_t packed = ZSTD_compressCCtx(codec->compress, codec->packed, codec->packed_bytes, codec->raw,
                                      (size_t)(at - codec->raw), 3);
    if (ZSTD_isError(packed)) return SI_ENOMEM;
    *out = codec->packed;
    *length = packed;
    return SI_OK;
}

/* ---- Sums ---- */

si__sum *si__sum_new(void) {
    return calloc(1, sizeof(si__sum));
}

void si__sum_free(si__sum *sum) {
    if (!sum) return;
    free(sum->slots);
    free(sum);
}

static size_t slot_of(uint32_t node, size_t capacity) {
    return (size_t)((node * 0x9E3779B97F4A7C15ull) >> 32) & (capacity - 1);
}

static int grow(si__sum *sum, size_t wanted) {
    if (wanted * 10 < sum->capacity * 7) return SI_OK;
    size_t capacity = sum->capacity ? sum->capacity : 1024;
    while (wanted * 10 >= capacity * 7) capacity *= 2;
    si__entry *slots = malloc(capacity * sizeof *slots);
    if (!slots) return SI_ENOMEM;
    memset(slots, 0xff, capacity * sizeof *slots);
    for (size_t i = 0; i < sum->capacity; i++) {
        if (sum->slots[i].node == UINT32_MAX) continue;
        size_t at = slot_of(sum->slots[i].node, capacity);
        while (slots[at].node != UINT32_MAX) at = (at + 1) & (capacity - 1);
        slots[at] = sum->slots[i];
    }
    free(sum->slots);
    sum->slots = slots;
    sum->capacity = capacity;
    return SI_OK;
}

static void add(si__sum *sum, uint32_t node, uint64_t count, int64_t value) {
    size_t at = slot_of(node, sum->capacity);
    while (sum->slots[at].node != node && sum->slots[at].node != UINT32_MAX) at = (at + 1) & (sum->capacity - 1);
    if (sum->slots[at].node == UINT32_MAX) {
        sum->slots[at] = (si__entry){node, 0, 0};
        sum->count++;
    }
    sum->slots[at].count += count;
    sum->slots[at].value = si__wrap_add(sum->slots[at].value, value);
}

int si__sum_add(si__sum *sum, uint32_t node, uint64_t count, int64_t value) {
    if (grow(sum, sum->count + 1)) return SI_ENOMEM;
    add(sum, node, count, value);
    return SI_OK;
}

static int add_columns(si__sum *sum, const uint8_t *at, const uint8_t *end) {
    if (at == end) return SI_EFORMAT;
    int has_values = *at & HAS_VALUES;
    if ((*at++ & 0x7f) != VERSION) return SI_EFORMAT;
    uint64_t count, unit, word;
    if (!(at = get_varint(at, end, &count)) || !(at = get_varint(at, end, &unit))) return SI_EFORMAT;
    if (count > (size_t)(end - at)) return SI_EFORMAT;
    const uint8_t *ids = at, *counts = at;
    for (uint64_t i = 0; i < count; counts++) { /* the second column starts after `count` last bytes of numbers */
        if (counts == end) return SI_EFORMAT;
        i += *counts < 0x80;
    }
    const uint8_t *values = counts;
    for (uint64_t i = 0; has_values && i < count; values++) {
        if (values == end) return SI_EFORMAT;
        i += *values < 0x80;
    }
    uint64_t node = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t samples;
        if (!(ids = get_varint(ids, end, &word))) return SI_EFORMAT;
        node += word;
        if (!(counts = get_varint(counts, end, &samples))) return SI_EFORMAT;
        uint64_t value = samples * unit;
        if (has_values) {
            if (!(values = get_varint(values, end, &word))) return SI_EFORMAT;
            value += unzigzag(word);
        }
        if (node >= UINT32_MAX) return SI_EFORMAT;
        add(sum, (uint32_t)node, samples, (int64_t)value);
    }
    return SI_OK;
}

int si__sum_add_body(si__sum *sum, si__body_codec *codec, const uint8_t *data, size_t length) {
    unsigned long long raw = ZSTD_getFrameContentSize(data, length);
    if (raw == ZSTD_CONTENTSIZE_ERROR || raw == ZSTD_CONTENTSIZE_UNKNOWN || raw > RAW_LIMIT) return SI_EFORMAT;
    if (reserve(&codec->raw, &codec->raw_bytes, (size_t)raw + 1)) return SI_ENOMEM;
    size_t got = ZSTD_decompressDCtx(codec->decompress, codec->raw, codec->raw_bytes, data, length);
    if (ZSTD_isError(got)) return SI_EFORMAT;
    if (grow(sum, sum->count + got / 2 + 1)) return SI_ENOMEM; /* an entry takes two bytes at least */
    return add_columns(sum, codec->raw, codec->raw + got);
}

size_t si__sum_count(const si__sum *sum) {
    return sum->count;
}

void si__sum_entries(const si__sum *sum, si__entry *out) {
    for (size_t i = 0; i < sum->capacity; i++)
        if (sum->slots[i].node != UINT32_MAX) *out++ = sum->slots[i];
}
