/*
 * Profiles as pprof. Called on the worker thread (si run --pprof).
 *
 * Field numbers are those of profile.proto: https://github.com/google/pprof/tree/main/proto
 */
#include "pprof.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "atomic_file.h"
#include "index.h"
#include "protobuf.h"
#include "resolve.h"
#include "si/si.h"
#include "strings.h"

enum {
    PROFILE_SAMPLE_TYPE = 1,
    PROFILE_SAMPLE,
    PROFILE_MAPPING,
    PROFILE_LOCATION,
    PROFILE_FUNCTION,
    PROFILE_STRING,
    PROFILE_TIME = 9,
    PROFILE_DURATION,
    PROFILE_PERIOD_TYPE,
    PROFILE_PERIOD,
    PROFILE_COMMENT
};
enum { TYPE_TYPE = 1, TYPE_UNIT };
enum { SAMPLE_LOCATION = 1, SAMPLE_VALUE };
enum {
    MAPPING_ID = 1,
    MAPPING_START,
    MAPPING_LIMIT,
    MAPPING_OFFSET,
    MAPPING_FILENAME,
    MAPPING_BUILD_ID,
    MAPPING_HAS_FUNCTIONS,
    MAPPING_HAS_FILENAMES,
    MAPPING_HAS_LINES,
    MAPPING_HAS_INLINES
};
enum { LOCATION_ID = 1, LOCATION_MAPPING, LOCATION_ADDRESS, LOCATION_LINE };
enum { LINE_FUNCTION = 1, LINE_LINE };
enum { FUNCTION_ID = 1, FUNCTION_NAME, FUNCTION_SYSTEM_NAME, FUNCTION_FILENAME };
enum { DEPTH_MAX = 4096, PAGE = 4096 };

typedef struct function {
    uint32_t name, system_name, file; /* numbers in the string table */
} function;

typedef struct writer {
    const si__rawprofile *raw;
    si__protobuf out, message, line;
    char **strings; /* [0] is "" */
    size_t string_count, string_capacity;
    si__index string_index;
    function *functions; /* id is place + 1 */
    size_t function_count, function_capacity;
    si__index function_index;
    uint8_t *known; /* of each binary: bits of what its locations have */
    int failed;
} writer;

enum { HAS_FUNCTIONS = 1, HAS_FILES = 2, HAS_LINES = 4, HAS_INLINES = 8 };

/* ---- Strings and functions ---- */

static uint32_t text_hash(const char *text) {
    uint64_t hash = 0xcbf29ce484222325ull; /* FNV-1a */
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) hash = (hash ^ *p) * 0x100000001b3ull;
    return si__hash64(hash);
}

static uint32_t string_hash(const void *owner, uint32_t item) {
    return text_hash(((const writer *)owner)->strings[item]);
}

static uint32_t function_hash_of(const function *f) {
    return si__hash64(((uint64_t)f->name << 32 | f->file) * 31 + f->system_name);
}

static uint32_t function_hash(const void *owner, uint32_t item) {
    return function_hash_of(&((const writer *)owner)->functions[item]);
}

/* Room for one more; 0 and failed when there is none. */
static int grow(writer *w, void *items, size_t count, size_t *capacity, size_t size) {
    void **array = items;
    if (count < *capacity) return 1;
    size_t wanted = *capacity * 2 + 64;
    void *grown = realloc(*array, wanted * size);
    if (!grown) {
        w->failed = 1;
        return 0;
    }
    *array = grown;
    *capacity = wanted;
    return 1;
}

/* The table holds UTF-8 only, or readers refuse the whole file; what symbols and paths hold is up to the program. */
static uint32_t string(writer *w, const char *text) {
    size_t bytes = strlen(text) + 1;
    char *copy = malloc(bytes);
    if (copy) si__text_clean(copy, bytes, text);
    uint32_t hash = text_hash(copy ? copy : text), position = hash, item;
    while (copy && (item = si__index_next(&w->string_index, &position)) != SI__INDEX_NONE) {
        if (strcmp(w->strings[item], copy) != 0) continue;
        free(copy);
        return item;
    }
    if (!copy || !grow(w, &w->strings, w->string_count, &w->string_capacity, sizeof *w->strings) ||
        si__index_reserve(&w->string_index, string_hash, w)) {
        free(copy);
        w->failed = 1;
        return 0;
    }
    w->strings[w->string_count] = copy;
    si__index_put(&w->string_index, hash, (uint32_t)w->string_count);
    return (uint32_t)w->string_count++;
}

/* The id of a function, from 1; 0: out of memory. */
static uint64_t function_id(writer *w, const si__symbol *symbol) {
    function f = {string(w, symbol->function), string(w, symbol->system_name), string(w, symbol->file)};
    uint32_t hash = function_hash_of(&f), position = hash, item;
    while ((item = si__index_next(&w->function_index, &position)) != SI__INDEX_NONE) {
        const function *g = &w->functions[item];
        if (g->name == f.name && g->system_name == f.system_name && g->file == f.file) return item + 1ull;
    }
    if (!grow(w, &w->functions, w->function_count, &w->function_capacity, sizeof *w->functions) ||
        si__index_reserve(&w->function_index, function_hash, w)) {
        w->failed = 1;
        return 0;
    }
    w->functions[w->function_count] = f;
    si__index_put(&w->function_index, hash, (uint32_t)w->function_count);
    return ++w->function_count;
}

/* ---- Messages ---- */

/* Where a file offset was mapped, when its binary was first seen. */
static uint64_t address_of(const si__binary *binary, uint64_t offset) {
    return binary->map_start + offset - binary->map_offset;
}

/* The address that a reader should look up: of the call, not of what follows it. */
static uint64_t location_address(const writer *w, const si__location *l) {
    if (!l->binary) return 0;
    return address_of(w->raw->binaries[l->binary], l->offset) - (l->flags & SI__LOCATION_EXACT ? 0 : 1);
}

static void put_location(void *arg, size_t location, const si__symbol *frames, size_t count) {
    writer *w = arg;
    const si__location *l = &w->raw->locations[location];
    si__protobuf_number(&w->message, LOCATION_ID, location + 1);
    si__protobuf_number(&w->message, LOCATION_MAPPING, l->binary);
    si__protobuf_number(&w->message, LOCATION_ADDRESS, location_address(w, l));
    for (size_t i = 0; i < count; i++) { /* the last line is the function that the others are inlined into */
        si__protobuf_number(&w->line, LINE_FUNCTION, function_id(w, &frames[i]));
        si__protobuf_number(&w->line, LINE_LINE, frames[i].line);
        si__protobuf_message(&w->message, LOCATION_LINE, &w->line);
        if (frames[i].function[0] != '[') w->known[l->binary] |= HAS_FUNCTIONS;
        if (frames[i].file[0]) w->known[l->binary] |= HAS_FILES;
        if (frames[i].line) w->known[l->binary] |= HAS_LINES;
    }
    if (count > 1) w->known[l->binary] |= HAS_INLINES;
    si__protobuf_message(&w->out, PROFILE_LOCATION, &w->message);
}

static void put_type(writer *w, uint32_t field, const char *type, const char *unit) {
    si__protobuf_number(&w->message, TYPE_TYPE, string(w, type));
    si__protobuf_number(&w->message, TYPE_UNIT, string(w, unit));
    si__protobuf_message(&w->out, field, &w->message);
}

static void put_samples(writer *w) {
    const si__rawprofile *raw = w->raw;
    uint64_t *path = malloc(DEPTH_MAX * sizeof *path);
    if (!path) w->failed = 1;
    for (size_t i = 0; path && i < raw->node_count; i++) {
        const si__raw_node *n = &raw->nodes[i];
        if (n->self_value == 0 && n->self_count == 0) continue;
        size_t depth = 0;
        for (size_t at = i; at != 0 && depth < DEPTH_MAX; at = raw->nodes[at].parent)
            path[depth++] = raw->nodes[at].location + 1ull; /* leaf first, as pprof has it */
        uint64_t values[] = {n->self_count, (uint64_t)n->self_value};
        si__protobuf_packed(&w->message, SAMPLE_LOCATION, path, depth);
        si__protobuf_packed(&w->message, SAMPLE_VALUE, values, 2);
        si__protobuf_message(&w->out, PROFILE_SAMPLE, &w->message);
    }
    free(path);
}

/* The range of a binary's mapping, widened to hold every address that was seen in it (it may be mapped in pieces). */
static void mapping_range(const writer *w, uint32_t binary, uint64_t *start, uint64_t *limit) {
    *start = w->raw->binaries[binary]->map_start;
    *limit = w->raw->binaries[binary]->map_end;
    for (size_t i = 0; i < w->raw->location_count; i++) {
        if (w->raw->locations[i].binary != binary) continue;
        uint64_t address = location_address(w, &w->raw->locations[i]);
        if (address < *start) *start = address & ~(uint64_t)(PAGE - 1);
        if (address >= *limit) *limit = (address | (PAGE - 1)) + 1;
    }
}

static void put_mappings(writer *w) {
    for (uint32_t i = 1; i < w->raw->binary_count; i++) {
        const si__binary *b = w->raw->binaries[i];
        uint64_t start, limit;
        mapping_range(w, i, &start, &limit);
        si__protobuf_number(&w->message, MAPPING_ID, i);
        si__protobuf_number(&w->message, MAPPING_START, start);
        si__protobuf_number(&w->message, MAPPING_LIMIT, limit);
        si__protobuf_number(&w->message, MAPPING_OFFSET, start - b->map_start + b->map_offset);
        si__protobuf_number(&w->message, MAPPING_FILENAME, string(w, b->path));
        si__protobuf_number(&w->message, MAPPING_BUILD_ID, string(w, b->build_id));
        si__protobuf_number(&w->message, MAPPING_HAS_FUNCTIONS, (w->known[i] & HAS_FUNCTIONS) != 0);
        si__protobuf_number(&w->message, MAPPING_HAS_FILENAMES, (w->known[i] & HAS_FILES) != 0);
        si__protobuf_number(&w->message, MAPPING_HAS_LINES, (w->known[i] & HAS_LINES) != 0);
        si__protobuf_number(&w->message, MAPPING_HAS_INLINES, (w->known[i] & HAS_INLINES) != 0);
        si__protobuf_message(&w->out, PROFILE_MAPPING, &w->message);
    }
}

static void put_functions(writer *w) {
    for (size_t i = 0; i < w->function_count; i++) {
        si__protobuf_number(&w->message, FUNCTION_ID, i + 1);
        si__protobuf_number(&w->message, FUNCTION_NAME, w->functions[i].name);
        si__protobuf_number(&w->message, FUNCTION_SYSTEM_NAME, w->functions[i].system_name);
        si__protobuf_number(&w->message, FUNCTION_FILENAME, w->functions[i].file);
        si__protobuf_message(&w->out, PROFILE_FUNCTION, &w->message);
    }
}

static int put_profile(writer *w, si__symbolizer *symbolizer, const si__pprof_options *o) {
    w->known = calloc(w->raw->binary_count, 1);
    if (!w->known) return SI_ENOMEM;
    string(w, ""); /* the first one has to be */
    put_type(w, PROFILE_SAMPLE_TYPE, o->count_type ? o->count_type : "samples", "count");
    put_type(w, PROFILE_SAMPLE_TYPE, o->type, o->unit);
    put_samples(w);
    int result = si__resolve_locations(w->raw, symbolizer, put_location, w);
    put_mappings(w);
    put_functions(w);
    si__protobuf_number(&w->out, PROFILE_TIME, (uint64_t)o->start_unix_ns);
    si__protobuf_number(&w->out, PROFILE_DURATION, (uint64_t)o->duration_ns);
    put_type(w, PROFILE_PERIOD_TYPE, o->period_type ? o->period_type : o->type,
             o->period_unit ? o->period_unit : o->unit);
    si__protobuf_number(&w->out, PROFILE_PERIOD, (uint64_t)o->period);
    if (o->comment) si__protobuf_number(&w->out, PROFILE_COMMENT, string(w, o->comment));
    for (size_t i = 0; i < w->string_count; i++) /* last: now all are known */
        si__protobuf_bytes(&w->out, PROFILE_STRING, w->strings[i], strlen(w->strings[i]));
    return result == 0 && !w->failed && !w->out.failed ? 0 : SI_ENOMEM;
}

static void writer_free(writer *w) {
    for (size_t i = 0; i < w->string_count; i++) free(w->strings[i]);
    free(w->strings);
    free(w->functions);
    free(w->known);
    si__index_free(&w->string_index);
    si__index_free(&w->function_index);
    si__protobuf_free(&w->out);
    si__protobuf_free(&w->message);
    si__protobuf_free(&w->line);
}

static int compress_gzip(const uint8_t *bytes, size_t length, uint8_t **out, size_t *out_length) {
    enum { GZIP = 16, WINDOW = 15, MEMORY = 8 };
    z_stream stream = {0};
    if (length > UINT32_MAX / 2) return SI_ENOMEM;
    if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW + GZIP, MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
        return SI_ENOMEM;
    size_t bound = deflateBound(&stream, (uLong)length);
    uint8_t *packed = malloc(bound);
    int whole = 0;
    if (packed) {
        stream.next_in = (Bytef *)(uintptr_t)bytes;
        stream.avail_in = (uInt)length;
        stream.next_out = packed;
        stream.avail_out = (uInt)bound;
        whole = deflate(&stream, Z_FINISH) == Z_STREAM_END;
        *out_length = bound - stream.avail_out;
    }
    deflateEnd(&stream);
    if (!whole) {
        free(packed);
        return SI_ENOMEM;
    }
    *out = packed;
    return 0;
}

int si__pprof_encode(const si__rawprofile *raw, si__symbolizer *symbolizer, const si__pprof_options *options,
                     uint8_t **out, size_t *length) {
    writer w = {.raw = raw};
    *out = NULL;
    *length = 0;
    int result = put_profile(&w, symbolizer, options);
    if (result == 0) result = compress_gzip(w.out.bytes, w.out.length, out, length);
    writer_free(&w);
    return result;
}

typedef struct blob {
    const uint8_t *bytes;
    size_t length;
} blob;

static int write_blob(void *arg, FILE *out) {
    const blob *b = arg;
    return fwrite(b->bytes, 1, b->length, out) == b->length ? 0 : SI_EIO;
}

int si__pprof_save(const si__rawprofile *raw, si__symbolizer *symbolizer, const si__pprof_options *options,
                   const char *path) {
    uint8_t *bytes;
    size_t length;
    int result = si__pprof_encode(raw, symbolizer, options, &bytes, &length);
    if (result) return result;
    blob b = {bytes, length};
    result = si__atomic_file(path, write_blob, &b);
    free(bytes);
    return result;
}
