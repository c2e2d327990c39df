/*
 * Walks .eh_frame (System V ABI for x86-64 and aarch64, LSB: CIE and FDE records) for the pc ranges only; the rules for
 * registers are not looked at. Called by the symbolizer on the worker thread.
 */
#include "function_range.h"

#include <string.h>

/* Pointer encodings (DW_EH_PE_*): the low four bits say the form, the next three what it is relative to. */
enum { FORM_MASK = 0x0f, RELATIVE_MASK = 0x70, RELATIVE_PC = 0x10, INDIRECT = 0x80, OMIT = 0xff };

typedef struct reader {
    const uint8_t *data;
    size_t at, end;
    uint64_t address; /* of data[0] */
    int bad;
} reader;

static uint64_t take(reader *r, size_t bytes) {
    uint64_t value = 0;
    if (r->bad || bytes > r->end - r->at) {
        r->bad = 1;
        return 0;
    }
    memcpy(&value, r->data + r->at, bytes); /* little endian, as all we run on */
    r->at += bytes;
    return value;
}

static uint64_t take_leb(reader *r) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !r->bad; shift += 7) {
        uint8_t byte = (uint8_t)take(r, 1);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return value;
    }
    r->bad = 1;
    return 0;
}

/* A pointer's value; `relative`: 0 takes the plain number, as for a length. */
static uint64_t take_pointer(reader *r, uint8_t encoding, int relative) {
    uint64_t base = relative && (encoding & RELATIVE_MASK) == RELATIVE_PC ? r->address + r->at : 0;
    uint64_t value = 0;
    switch (encoding & FORM_MASK) {
    case 0x0:
    case 0x4:
    case 0xc:
        value = take(r, 8);
        break;
    case 0x1:
        value = take_leb(r);
        break;
    case 0x2:
        value = take(r, 2);
        break;
    case 0xa:
        value = (uint64_t)(int64_t)(int16_t)take(r, 2);
        break;
    case 0x3:
        value = take(r, 4);
        break;
    case 0xb:
        value = (uint64_t)(int64_t)(int32_t)take(r, 4);
        break;
    default:
        r->bad = 1;
    }
    if (relative && (encoding & RELATIVE_MASK) != 0 && (encoding & RELATIVE_MASK) != RELATIVE_PC) r->bad = 1;
    if (encoding & INDIRECT) r->bad = 1;
    return base + value;
}

/* The encoding of pcs in the FDEs of the CIE at `at`; OMIT when it cannot be read. */
static uint8_t cie_encoding(reader whole, size_t at) {
    reader r = whole;
    if (at >= r.end) return OMIT;
    r.at = at;
    uint64_t length = take(&r, 4);
    if (length == 0xffffffff) length = take(&r, 8);
    if (r.bad || length > r.end - r.at) return OMIT;
    r.end = r.at + (size_t)length;
    if (take(&r, 4) != 0) return OMIT; /* not a CIE */
    uint64_t version = take(&r, 1);
    const char *augmentation = (const char *)r.data + r.at;
    while (take(&r, 1) != 0)
        if (r.bad) return OMIT;
    if (augmentation[0] != 'z') return augmentation[0] == 0 ? 0 : OMIT;
    take_leb(&r); /* code alignment */
    take_leb(&r); /* data alignment, signed: the same bytes */
    if (version == 1)
        take(&r, 1);
    else
        take_leb(&r);
    take_leb(&r); /* length of the augmentation data */
    for (const char *a = augmentation + 1; *a && !r.bad; a++) {
        if (*a == 'R') return (uint8_t)take(&r, 1);
        if (*a == 'L') take(&r, 1);
        if (*a == 'P') {
            uint8_t encoding = (uint8_t)take(&r, 1);
            take_pointer(&r, encoding & FORM_MASK, 0);
        }
    }
    return r.bad ? OMIT : 0;
}

/* Entries do not overlap in a sound file, so each query is met once: `budget` ends what a hostile one would make of it.
 */
static void apply(si__query *queries, size_t count, uint64_t start, uint64_t size, uint64_t *budget) {
    if (size == 0 || start + size < start) return;
    for (size_t i = si__query_lower(queries, count, start); i < count && queries[i].address < start + size; i++) {
        if (*budget == 0) return;
        --*budget;
        queries[i].fde_start = start;
        queries[i].fde_end = start + size;
    }
}

void si__function_ranges(const uint8_t *data, size_t length, uint64_t address, si__query *queries, size_t count) {
    reader whole = {.data = data, .end = length, .address = address};
    size_t known_cie = SIZE_MAX;
    uint8_t encoding = OMIT;
    uint64_t budget = 16 * (uint64_t)count + 1024;
    for (size_t at = 0; length - at >= 8;) {
        reader r = whole;
        r.at = at;
        uint64_t bytes = take(&r, 4);
        if (bytes == 0) { /* end mark; linkers leave some in the middle */
            at += 4;
            continue;
        }
        if (bytes == 0xffffffff) bytes = take(&r, 8);
        if (r.bad || bytes > r.end - r.at || bytes < 4) return;
        r.end = r.at + (size_t)bytes;
        at = r.end;
        size_t id_at = r.at;
        uint64_t id = take(&r, 4);
        if (id == 0 || id > id_at) continue; /* a CIE, or nonsense */
        if (known_cie != id_at - id) {
            known_cie = id_at - (size_t)id;
            encoding = cie_encoding(whole, known_cie);
        }
        if (encoding == OMIT) continue;
        uint64_t start = take_pointer(&r, encoding, 1), size = take_pointer(&r, encoding, 0);
        if (!r.bad) apply(queries, count, start, size, &budget);
    }
}
