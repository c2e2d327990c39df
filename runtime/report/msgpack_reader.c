/*
 * Reads MessagePack's type bytes by the specification, with every length checked against what is left.
 *
 * Called by decode.c and by tests and fuzzers. No recursion: skipping keeps its own stack of counters.
 */
#include "msgpack_reader.h"

#include <math.h>
#include <si/si.h>
#include <stdio.h>
#include <string.h>

typedef enum kind { NIL, BOOL, UINT, INT, FLOAT, STR, BIN, ARRAY, MAP, EXT } kind;

typedef struct head { /* one decoded type byte with what belongs to it */
    kind kind;
    uint64_t number; /* UINT: the value; INT: its two's complement; STR, BIN, EXT: bytes; ARRAY, MAP: elements, pairs */
    double real;     /* FLOAT */
    const char *data; /* STR, BIN, EXT */
} head;

int si__msgpack_fail(si__msgpack_reader *r, int status, const char *what) {
    if (r->status) return r->status;
    r->status = status;
    r->at = r->end;
    if (r->error_bytes) snprintf(r->error, r->error_bytes, "%s: %s", r->field ? r->field : "report", what);
    return status;
}

static size_t left(const si__msgpack_reader *r) {
    return (size_t)(r->end - r->at);
}

static uint64_t big_endian(si__msgpack_reader *r, size_t bytes) {
    uint64_t value = 0;
    if (left(r) < bytes) {
        si__msgpack_fail(r, SI_EFORMAT, "ends too early");
        return 0;
    }
    for (size_t i = 0; i < bytes; i++) value = value << 8 | *r->at++;
    return value;
}

static head body(si__msgpack_reader *r, kind k, uint64_t bytes) {
    head h = {k, bytes, 0, (const char *)r->at};
    if (r->status || bytes > left(r)) {
        si__msgpack_fail(r, SI_EFORMAT, "longer than the data");
        h.number = 0;
        return h;
    }
    r->at += bytes;
    return h;
}

static head container(si__msgpack_reader *r, kind k, uint64_t count) {
    head h = {k, count, 0, NULL};
    if (count * (k == MAP ? 2 : 1) > left(r)) {
        si__msgpack_fail(r, SI_EFORMAT, "more elements than bytes");
        h.number = 0;
    }
    return h;
}

static head signed_int(si__msgpack_reader *r, size_t bytes) {
    uint64_t raw = big_endian(r, bytes);
    uint64_t sign = 1ull << (8 * bytes - 1);
    int negative = (raw & sign) != 0;
    if (bytes < 8 && negative) raw |= ~(sign * 2 - 1);
    return (head){negative ? INT : UINT, raw, 0, NULL};
}

static head real(si__msgpack_reader *r, size_t bytes) {
    uint64_t raw = big_endian(r, bytes);
    head h = {FLOAT, 0, 0, NULL};
    if (bytes == 4) {
        uint32_t narrow = (uint32_t)raw;
        float f;
        memcpy(&f, &narrow, sizeof f);
        h.real = (double)f;
    } else {
        memcpy(&h.real, &raw, sizeof h.real);
    }
    return h;
}

static head extension(si__msgpack_reader *r, uint64_t bytes) {
    return body(r, EXT, bytes + 1); /* and its type byte */
}

static head next(si__msgpack_reader *r) {
    head none = {NIL, 0, 0, NULL};
    if (r->status) return none;
    if (r->at == r->end) {
        si__msgpack_fail(r, SI_EFORMAT, "ends too early");
        return none;
    }
    uint8_t type = *r->at++;
    if (type <= 0x7f) return (head){UINT, type, 0, NULL};
    if (type <= 0x8f) return container(r, MAP, type & 0x0f);
    if (type <= 0x9f) return container(r, ARRAY, type & 0x0f);
    if (type <= 0xbf) return body(r, STR, type & 0x1f);
    if (type >= 0xe0) return (head){INT, (uint64_t)(int64_t)(int8_t)type, 0, NULL};
    switch (type) {
    case 0xc0:
        return none;
    case 0xc2:
    case 0xc3:
        return (head){BOOL, type & 1, 0, NULL};
    case 0xc4:
        return body(r, BIN, big_endian(r, 1));
    case 0xc5:
        return body(r, BIN, big_endian(r, 2));
    case 0xc6:
        return body(r, BIN, big_endian(r, 4));
    case 0xc7:
        return extension(r, big_endian(r, 1));
    case 0xc8:
        return extension(r, big_endian(r, 2));
    case 0xc9:
        return extension(r, big_endian(r, 4));
    case 0xca:
        return real(r, 4);
    case 0xcb:
        return real(r, 8);
    case 0xcc:
        return (head){UINT, big_endian(r, 1), 0, NULL};
    case 0xcd:
        return (head){UINT, big_endian(r, 2), 0, NULL};
    case 0xce:
        return (head){UINT, big_endian(r, 4), 0, NULL};
    case 0xcf:
        return (head){UINT, big_endian(r, 8), 0, NULL};
    case 0xd0:
        return signed_int(r, 1);
    case 0xd1:
        return signed_int(r, 2);
    case 0xd2:
        return signed_int(r, 4);
    case 0xd3:
        return signed_int(r, 8);
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        return extension(r, 1ull << (type - 0xd4));
    case 0xd9:
        return body(r, STR, big_endian(r, 1));
    case 0xda:
        return body(r, STR, big_endian(r, 2));
    case 0xdb:
        return body(r, STR, big_endian(r, 4));
    case 0xdc:
        return container(r, ARRAY, big_endian(r, 2));
    case 0xdd:
        return container(r, ARRAY, big_endian(r, 4));
    case 0xde:
        return container(r, MAP, big_endian(r, 2));
    case 0xdf:
        return container(r, MAP, big_endian(r, 4));
    default:
        si__msgpack_fail(r, SI_EFORMAT, "reserved type byte");
        return none;
    }
}

static head expect(si__msgpack_reader *r, kind k, const char *what) {
    head h = next(r);
    if (!r->status && h.kind != k) si__msgpack_fail(r, SI_EFORMAT, what);
    if (r->status) return (head){k, 0, 0, ""};
    return h;
}

uint32_t si__msgpack_read_map(si__msgpack_reader *r) {
    return (uint32_t)expect(r, MAP, "expected a map").number;
}

uint32_t si__msgpack_read_array(si__msgpack_reader *r) {
    return (uint32_t)expect(r, ARRAY, "expected an array").number;
}

uint64_t si__msgpack_read_uint(si__msgpack_reader *r) {
    if (r->at < r->end && *r->at < 0x80 && !r->status) return *r->at++; /* nearly all there are */
    return expect(r, UINT, "expected a non-negative integer").number;
}

int64_t si__msgpack_read_int(si__msgpack_reader *r) {
    if (r->at < r->end && (*r->at < 0x80 || *r->at >= 0xe0) && !r->status) return (int8_t)*r->at++;
    if (left(r) >= 3 && (*r->at == 0xd1 || *r->at == 0xd0) && !r->status) { /* differences of some size */
        int wide = *r->at & 1;
        int64_t value = wide ? (int16_t)(r->at[1] << 8 | r->at[2]) : (int8_t)r->at[1];
        r->at += 2 + wide;
        return value;
    }
    head h = next(r);
    if (r->status) return 0;
    if (h.kind == INT || (h.kind == UINT && h.number <= INT64_MAX)) return (int64_t)h.number;
    si__msgpack_fail(r, SI_EFORMAT, "expected an integer");
    return 0;
}

double si__msgpack_read_double(si__msgpack_reader *r) {
    head h = next(r);
    if (r->status) return 0;
    if (h.kind == FLOAT) return h.real;
    if (h.kind == UINT) return (double)h.number;
    if (h.kind == INT) return (double)(int64_t)h.number;
    if (h.kind == NIL) return NAN;
    si__msgpack_fail(r, SI_EFORMAT, "expected a number");
    return 0;
}

si__msgpack_view si__msgpack_read_str(si__msgpack_reader *r) {
    if (!r->status && left(r) > 32 && *r->at >= 0xa0 && *r->at <= 0xbf) {
        size_t length = *r->at & 0x1f;
        r->at += 1 + length;
        return (si__msgpack_view){(const char *)r->at - length, length};
    }
    head h = expect(r, STR, "expected a string");
    return (si__msgpack_view){h.data, (size_t)h.number};
}

si__msgpack_view si__msgpack_read_bin(si__msgpack_reader *r) {
    head h = expect(r, BIN, "expected binary");
    return (si__msgpack_view){h.data, (size_t)h.number};
}

int si__msgpack_read_nil(si__msgpack_reader *r) {
    if (r->status || r->at == r->end || *r->at != 0xc0) return 0;
    r->at++;
    return 1;
}

int si__msgpack_is_str(const si__msgpack_reader *r) {
    if (r->status || r->at == r->end) return 0;
    return (*r->at >= 0xa0 && *r->at <= 0xbf) || (*r->at >= 0xd9 && *r->at <= 0xdb);
}

/* Bytes of an element that contains no others, by its first two bytes; 0: needs a closer look. */
static size_t plain_bytes(const uint8_t *at, size_t bytes) {
    uint8_t type = at[0];
    if (type < 0x80 || type >= 0xe0 || type == 0xc0) return 1;
    if (type >= 0xa0 && type <= 0xbf) return 1 + (size_t)(type & 0x1f);
    if (type == 0xcc || type == 0xd0) return 2;
    if (type == 0xcd || type == 0xd1) return 3;
    if (type == 0xd9 && bytes > 1) return 2 + (size_t)at[1];
    return 0;
}

/* Steps over what contains nothing: small numbers eight at a time where all are. Returns how many. */
static uint64_t skip_plain(si__msgpack_reader *r, uint64_t most) {
    uint64_t skipped = 0, eight;
    while (skipped < most && r->at < r->end) {
        if (most - skipped >= 8 && r->end - r->at >= 8) {
            memcpy(&eight, r->at, sizeof eight);
            if (!(eight & 0x8080808080808080ull)) {
                r->at += 8;
                skipped += 8;
                continue;
            }
        }
        size_t bytes = plain_bytes(r->at, left(r));
        if (!bytes || bytes > left(r)) break;
        r->at += bytes;
        skipped++;
    }
    return skipped;
}

void si__msgpack_skip(si__msgpack_reader *r, uint64_t elements) {
    uint64_t open[SI__MSGPACK_MAX_DEPTH + 1]; /* elements still to come, per level */
    size_t depth = 0;
    open[0] = elements;
    while (!r->status) {
        while (open[depth] == 0) {
            if (depth == 0) return;
            depth--;
        }
        if ((open[depth] -= skip_plain(r, open[depth])) == 0) continue;
        open[depth]--;
        head h = next(r);
        if ((h.kind != ARRAY && h.kind != MAP) || h.number == 0) continue;
        if (depth == SI__MSGPACK_MAX_DEPTH) {
            si__msgpack_fail(r, SI_ELIMIT, "nested too deeply");
            return;
        }
        open[++depth] = h.kind == MAP ? h.number * 2 : h.number;
    }
}
