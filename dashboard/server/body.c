/*
 * Bodies of stored profiles and their sums; see body.h. The writer encodes, the workers that answer requests add up.
 */
#include "body.h"

#include <si/si.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "rice.h"

#define VERSION 2
#define HAS_VALUES 0x80
#define RAW_LIMIT ((size_t)256 << 20)

struct si__body_codec {
    ZSTD_DCtx *decompress;
    uint8_t *raw, *packed, *sorting, *decoded;
    size_t raw_bytes, packed_bytes, sorting_bytes, decoded_bytes;
};

#define PAGE_BITS 9
#define PAGE_NODES (1u << PAGE_BITS)

typedef struct page { /* of nodes with neighbouring numbers: they were made together and are asked for together */
    uint64_t known[PAGE_NODES / 64];
    struct {
        uint64_t count;
        int64_t value;
    } nodes[PAGE_NODES];
} page;

struct si__sum {
    page **pages; /* by node >> PAGE_BITS; NULL: nothing there */
    size_t page_count, count;
};

si__body_codec *si__body_codec_new(void) {
    si__body_codec *codec = calloc(1, sizeof *codec);
    if (!codec) return NULL;
    codec->decompress = ZSTD_createDCtx();
    if (codec->decompress) return codec;
    si__body_codec_free(codec);
    return NULL;
}

struct ZSTD_DCtx_s *si__body_codec_zstd(si__body_codec *codec) {
    return codec->decompress;
}

void si__body_codec_free(si__body_codec *codec) {
    if (!codec) return;
    ZSTD_freeDCtx(codec->decompress);
    free(codec->raw);
    free(codec->packed);
    free(codec->sorting);
    free(codec->decoded);
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
    return (value << 1) ^ (0 - (value >> 63));
}

static uint64_t unzigzag(uint64_t value) {
    return (value >> 1) ^ (0 - (value & 1));
}

/* By node, eight bits at a time from the lowest; bits that all nodes share are passed over. */
static int sort_entries(si__body_codec *codec, si__entry *entries, size_t count) {
    if (reserve(&codec->sorting, &codec->sorting_bytes, count * sizeof *entries)) return SI_ENOMEM;
    si__entry *from = entries, *to = (si__entry *)(void *)codec->sorting;
    uint32_t differ = 0;
    for (size_t i = 1; i < count; i++) differ |= entries[i].node ^ entries[0].node;
    for (unsigned shift = 0; shift < 32; shift += 8) {
        if (!(differ >> shift & 0xff)) continue;
        size_t starts[256] = {0}, at = 0;
        for (size_t i = 0; i < count; i++) starts[from[i].node >> shift & 0xff]++;
        for (size_t i = 0; i < 256; i++) {
            size_t here = starts[i];
            starts[i] = at;
            at += here;
        }
        for (size_t i = 0; i < count; i++) to[starts[from[i].node >> shift & 0xff]++] = from[i];
        si__entry *other = from;
        from = to;
        to = other;
    }
    if (from != entries) memcpy(entries, from, count * sizeof *entries);
    return SI_OK;
}

static int is_sorted(const si__entry *entries, size_t count) {
    for (size_t i = 1; i < count; i++)
        if (entries[i - 1].node > entries[i].node) return 0;
    return 1;
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
    if (!is_sorted(entries, count) && sort_entries(codec, entries, count)) return SI_ENOMEM;
    count = join_equal(entries, count);
    if (count > RAW_LIMIT / 32) return SI_ENOMEM;
    size_t most = 32 + count * 3 * SI__RICE_MOST_BYTES;
    if (reserve(&codec->packed, &codec->packed_bytes, most)) return SI_ENOMEM;
    uint64_t unit = 0; /* the value of one sample: with a fixed period all residues are zero */
    for (size_t i = 0; i < count && !unit; i++)
        if (entries[i].count && entries[i].value > 0) unit = (uint64_t)entries[i].value / entries[i].count;
    int has_values = 0;
    for (size_t i = 0; i < count; i++) has_values |= (uint64_t)entries[i].value != entries[i].count * unit;
    uint8_t *at = codec->packed;
    *at++ = (uint8_t)(VERSION | (has_values ? HAS_VALUES : 0));
    at = put_varint(put_varint(at, count), unit);
    si__bits bits = {at, 0, 0};
    si__rice ids = {0}, counts = {0}, values = {0};
    uint32_t before = 0;
    for (size_t i = 0; i < count; before = entries[i++].node) {
        si__rice_put(&bits, &ids, entries[i].node - before);
        si__rice_put(&bits, &counts, entries[i].count - 1); /* 0 is rare, and wraps around */
        if (has_values) si__rice_put(&bits, &values, zigzag((uint64_t)entries[i].value - entries[i].count * unit));
    }
    *out = codec->packed;
    *length = (size_t)(si__bits_end(&bits) - codec->packed);
    return SI_OK;
}

/* ---- Sums ---- */

si__sum *si__sum_new(void) {
    return calloc(1, sizeof(si__sum));
}

void si__sum_free(si__sum *sum) {
    if (!sum) return;
    for (size_t i = 0; i < sum->page_count; i++) free(sum->pages[i]);
    free(sum->pages);
    free(sum);
}

static page *make_page(si__sum *sum, size_t index) {
    if (index >= sum->page_count) {
        size_t count = sum->page_count * 2 > index + 1 ? sum->page_count * 2 : index + 64;
        page **more = realloc(sum->pages, count * sizeof(page *));
        if (!more) return NULL;
        memset(more + sum->page_count, 0, (count - sum->page_count) * sizeof(page *));
        sum->pages = more;
        sum->page_count = count;
    }
    if (!sum->pages[index]) sum->pages[index] = calloc(1, sizeof(page));
    return sum->pages[index];
}

static inline int add(si__sum *sum, uint32_t node, uint64_t count, int64_t value) {
    size_t index = node >> PAGE_BITS, at = node & (PAGE_NODES - 1);
    page *p = index < sum->page_count ? sum->pages[index] : NULL;
    if (!p && !(p = make_page(sum, index))) return SI_ENOMEM;
    uint64_t bit = 1ull << (at & 63);
    sum->count += !(p->known[at >> 6] & bit);
    p->known[at >> 6] |= bit;
    p->nodes[at].count += count;
    p->nodes[at].value = si__wrap_add(p->nodes[at].value, value);
    return SI_OK;
}

int si__sum_add(si__sum *sum, uint32_t node, uint64_t count, int64_t value) {
    return add(sum, node, count, value);
}

/* ---- Decoding ---- */

/* After `count` numbers; NULL when they do not all end before `end`. */
static const uint8_t *after(const uint8_t *at, const uint8_t *end, uint64_t count) {
    for (; count; at++) {
        if (at == end) return NULL;
        count -= *at < 0x80;
    }
    return at;
}

static si__entry *decode_room(si__body_codec *codec, uint64_t count) {
    if (reserve(&codec->decoded, &codec->decoded_bytes, (count + 1) * sizeof(si__entry))) return NULL;
    return (si__entry *)(void *)codec->decoded;
}

/* Of version 1, in zstd: ids, counts and values as varints, a column after the other. */
static int decode_columns(si__body_codec *codec, const uint8_t *at, const uint8_t *end, size_t *out_count) {
    if (at == end) return SI_EFORMAT;
    int has_values = *at & HAS_VALUES;
    if ((*at++ & 0x7f) != 1) return SI_EFORMAT;
    uint64_t count, unit, word;
    if (!(at = get_varint(at, end, &count)) || !(at = get_varint(at, end, &unit))) return SI_EFORMAT;
    if (count > (size_t)(end - at)) return SI_EFORMAT;
    const uint8_t *ids = at, *counts = after(ids, end, count);
    const uint8_t *values = counts ? after(counts, end, count) : NULL;
    if (!values) return SI_EFORMAT;
    si__entry *entries = decode_room(codec, count);
    if (!entries) return SI_ENOMEM;
    uint64_t node = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t samples;
        if (!(ids = get_varint(ids, end, &word))) return SI_EFORMAT;
        node += word; /* wraps around at worst, and is checked below */
        if (!(counts = get_varint(counts, end, &samples))) return SI_EFORMAT;
        uint64_t value = samples * unit;
        if (has_values) {
            if (!(values = get_varint(values, end, &word))) return SI_EFORMAT;
            value += unzigzag(word);
        }
        if (node >= SI__NODE_LIMIT) return SI_EFORMAT;
        entries[i] = (si__entry){(uint32_t)node, samples, (int64_t)value};
    }
    *out_count = count;
    return SI_OK;
}

static int decode_zstd(si__body_codec *codec, const uint8_t *data, size_t length, size_t *count) {
    unsigned long long raw = ZSTD_getFrameContentSize(data, length);
    if (raw == ZSTD_CONTENTSIZE_ERROR || raw == ZSTD_CONTENTSIZE_UNKNOWN || raw > RAW_LIMIT) return SI_EFORMAT;
    if (reserve(&codec->raw, &codec->raw_bytes, (size_t)raw + 1)) return SI_ENOMEM;
    size_t got = ZSTD_decompressDCtx(codec->decompress, codec->raw, codec->raw_bytes, data, length);
    if (ZSTD_isError(got)) return SI_EFORMAT;
    return decode_columns(codec, codec->raw, codec->raw + got, count);
}

static int decode_bits(si__body_codec *codec, const uint8_t *data, size_t length, size_t *out_count) {
    if (reserve(&codec->raw, &codec->raw_bytes, length + SI__RICE_PADDING)) return SI_ENOMEM;
    memcpy(codec->raw, data, length);
    memset(codec->raw + length, 0, SI__RICE_PADDING);
    const uint8_t *at = codec->raw + 1, *end = codec->raw + length;
    int has_values = codec->raw[0] & HAS_VALUES;
    uint64_t count, unit, node = 0;
    if (!(at = get_varint(at, end, &count)) || !(at = get_varint(at, end, &unit))) return SI_EFORMAT;
    if (count > (size_t)(end - at) * 4) return SI_EFORMAT; /* two bits each, at least */
    si__entry *entries = decode_room(codec, count);
    if (!entries) return SI_ENOMEM;
    si__bit_reader bits = {at, 0, (uint64_t)(end - at) * 8};
    si__rice ids = {0}, counts = {0}, values = {0};
    for (uint64_t i = 0; i < count; i++) {
        uint64_t gap, samples, residue = 0;
        if (!si__rice_get(&bits, &ids, &gap) || !si__rice_get(&bits, &counts, &samples)) return SI_EFORMAT;
        if (has_values && !si__rice_get(&bits, &values, &residue)) return SI_EFORMAT;
        node += gap; /* wraps around at worst, and is checked next */
        if (node >= SI__NODE_LIMIT) return SI_EFORMAT;
        samples++;
        entries[i] = (si__entry){(uint32_t)node, samples, (int64_t)(samples * unit + unzigzag(residue))};
    }
    *out_count = count;
    return SI_OK;
}

int si__body_decode(si__body_codec *codec, const uint8_t *data, size_t length, const si__entry **out, size_t *count) {
    if (length == 0) return SI_EFORMAT;
    int failed =
        (data[0] & 0x7f) == VERSION ? decode_bits(codec, data, length, count) : decode_zstd(codec, data, length, count);
    *out = (const si__entry *)(const void *)codec->decoded;
    return failed;
}

int si__sum_add_body(si__sum *sum, si__body_codec *codec, const uint8_t *data, size_t length) {
    const si__entry *entries;
    size_t count = 0;
    int failed = si__body_decode(codec, data, length, &entries, &count);
    for (size_t i = 0; i < count && !failed; i++)
        failed = add(sum, entries[i].node, entries[i].count, entries[i].value);
    return failed;
}

int si__sum_add_share(si__sum *sum, const si__entry *entries, size_t count, uint64_t parts) {
    int failed = SI_OK;
    for (size_t i = 0; i < count && !failed; i++) {
        const si__entry *e = &entries[i];
        unsigned __int128 shares = ((unsigned __int128)e->count << 16) / parts;
        __int128 share = (__int128)e->value * 65536 / (__int128)parts;
        failed = add(sum, e->node, (uint64_t)shares, (int64_t)share);
    }
    return failed;
}

void si__sum_round(si__sum *sum) {
    for (size_t i = 0; i < sum->page_count; i++)
        for (size_t j = 0; sum->pages[i] && j < PAGE_NODES; j++) {
            sum->pages[i]->nodes[j].count = (sum->pages[i]->nodes[j].count + 32768) >> 16;
            sum->pages[i]->nodes[j].value = si__wrap_add(sum->pages[i]->nodes[j].value, 32768) >> 16;
        }
}

size_t si__sum_count(const si__sum *sum) {
    return sum->count;
}

void si__sum_entries(const si__sum *sum, si__entry *out) {
    for (size_t i = 0; i < sum->page_count; i++) {
        const page *p = sum->pages[i];
        for (size_t word = 0; p && word < PAGE_NODES / 64; word++)
            for (uint64_t left = p->known[word]; left; left &= left - 1) {
                size_t at = word * 64 + (size_t)__builtin_ctzll(left);
                *out++ = (si__entry){(uint32_t)(i << PAGE_BITS | at), p->nodes[at].count, p->nodes[at].value};
            }
    }
}
