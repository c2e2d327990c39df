/*
 * Reads pprof; see pprof_in.h. Two passes over the message: tables first (strings, functions, locations, mappings),
 * then samples, because nothing in the format says that tables come first.
 */
#include "pprof_in.h"

#include <si/si.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "pprof_types.h"

#define STRINGS ((size_t)1 << 20)
#define FUNCTIONS ((size_t)1 << 20)
#define LOCATIONS ((size_t)1 << 20)
#define LINES ((size_t)1 << 21)
#define MAPPINGS ((size_t)1 << 16)
#define SAMPLES ((size_t)1 << 21)
#define NAME 4096

typedef struct span {
    const uint8_t *at, *end;
} span;

typedef struct function {
    uint64_t id, name, file;
} function;

typedef struct mapping {
    uint64_t id, file;
} mapping;

typedef struct code_line {
    uint64_t function, line;
    uint32_t frame; /* of the tree; UINT32_MAX: not made yet */
} code_line;

typedef struct location {
    uint64_t id, mapping, address;
    size_t first_line, lines;
} location;

typedef struct table { /* a growing array */
    void *items;
    size_t count, capacity, most;
    const char *name;
} table;

typedef struct reader {
    table strings, functions, mappings, locations, lines;
    si__pprof_types types;
    uint64_t type_names[SI__PPROF_MOST_TYPES], type_units[SI__PPROF_MOST_TYPES];
    size_t type_count;
    int64_t time_ns, duration_ns;
    si__calltree *skeleton;
    uint32_t *nodes; /* of each sample */
    int64_t *values; /* type_count for each sample */
    size_t samples, sample_capacity;
    uint64_t cut_stacks;
    char *error;
    size_t error_bytes;
} reader;

static int fail(reader *r, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int fail(reader *r, int code, const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(r->error, r->error_bytes, format, values);
    va_end(values);
    return code;
}

/* ---- The wire ---- */

static int read_varint(span *s, uint64_t *out) {
    *out = 0;
    for (unsigned shift = 0; shift < 70 && s->at < s->end; shift += 7) {
        uint8_t byte = *s->at++;
        if (shift < 64) *out |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return SI_OK;
    }
    return SI_EFORMAT;
}

typedef struct field {
    uint32_t number;
    int is_bytes;
    uint64_t value;
    span bytes;
} field;

/* The next field of a message. 1: one; 0: the end; SI_EFORMAT. Fixed-size fields are passed over as bytes. */
static int next_field(span *s, field *f) {
    uint64_t tag, length;
    if (s->at == s->end) return 0;
    if (read_varint(s, &tag) || tag >> 3 == 0 || tag >> 3 > 536870911) return SI_EFORMAT;
    *f = (field){.number = (uint32_t)(tag >> 3)};
    switch (tag & 7) {
    case 0:
        return read_varint(s, &f->value) ? SI_EFORMAT : 1;
    case 1:
        length = 8;
        break;
    case 5:
        length = 4;
        break;
    case 2:
        if (read_varint(s, &length)) return SI_EFORMAT;
        f->is_bytes = 1;
        break;
    default:
        return SI_EFORMAT;
    }
    if (length > (uint64_t)(s->end - s->at)) return SI_EFORMAT;
    f->bytes = (span){s->at, s->at + length};
    s->at += length;
    return 1;
}

/* A repeated number, packed or not: 1 while there is one. `rest` is the packed field being read. */
static int next_number(const field *f, span *rest, uint64_t *out) {
    if (!f->is_bytes) {
        int first = rest->at == NULL;
        rest->at = rest->end = (const uint8_t *)f;
        *out = f->value;
        return first;
    }
    if (!rest->at) *rest = f->bytes;
    if (rest->at == rest->end) return 0;
    return read_varint(rest, out) ? SI_EFORMAT : 1;
}

static void *add(reader *r, table *t, size_t size, int *failed) {
    if (t->count == t->capacity) {
        size_t capacity = t->capacity ? t->capacity * 2 : 64;
        if (t->count == t->most) {
            *failed = fail(r, SI_ELIMIT, "it has more than %zu %s", t->most, t->name);
            return NULL;
        }
        void *more = realloc(t->items, capacity * size);
        if (!more) {
            *failed = SI_ENOMEM;
            return NULL;
        }
        t->items = more;
        t->capacity = capacity;
    }
    return (char *)t->items + size * t->count++;
}

/* ---- Tables ---- */

static int read_type(reader *r, span s) {
    field f;
    int got;
    if (r->type_count == SI__PPROF_MOST_TYPES)
        return fail(r, SI_ELIMIT, "it has more than %d sample types", SI__PPROF_MOST_TYPES);
    uint64_t *name = &r->type_names[r->type_count], *unit = &r->type_units[r->type_count];
    *name = *unit = 0;
    while ((got = next_field(&s, &f)) == 1) {
        if (f.number == 1) *name = f.value;
        if (f.number == 2) *unit = f.value;
    }
    r->type_count++;
    return got ? fail(r, SI_EFORMAT, "a sample type is malformed") : SI_OK;
}

static int read_function(reader *r, span s) {
    field f;
    int got, failed = SI_OK;
    function *out = add(r, &r->functions, sizeof *out, &failed);
    if (!out) return failed;
    *out = (function){0};
    while ((got = next_field(&s, &f)) == 1) {
        if (f.number == 1) out->id = f.value;
        if (f.number == 2) out->name = f.value;
        if (f.number == 3 && !out->name) out->name = f.value;
        if (f.number == 4) out->file = f.value;
    }
    return got ? fail(r, SI_EFORMAT, "a function is malformed") : SI_OK;
}

static int read_mapping(reader *r, span s) {
    field f;
    int got, failed = SI_OK;
    mapping *out = add(r, &r->mappings, sizeof *out, &failed);
    if (!out) return failed;
    *out = (mapping){0};
    while ((got = next_field(&s, &f)) == 1) {
        if (f.number == 1) out->id = f.value;
        if (f.number == 5) out->file = f.value;
    }
    return got ? fail(r, SI_EFORMAT, "a mapping is malformed") : SI_OK;
}

static int read_line(reader *r, span s) {
    field f;
    int got, failed = SI_OK;
    code_line *out = add(r, &r->lines, sizeof *out, &failed);
    if (!out) return failed;
    *out = (code_line){.frame = UINT32_MAX};
    while ((got = next_field(&s, &f)) == 1) {
        if (f.number == 1) out->function = f.value;
        if (f.number == 2) out->line = f.value;
    }
    return got ? fail(r, SI_EFORMAT, "a line is malformed") : SI_OK;
}

/* Every location has one line at least: without any, its address is its name. */
static int read_location(reader *r, span s) {
    field f;
    int got, failed = SI_OK;
    location here = {.first_line = r->lines.count};
    while ((got = next_field(&s, &f)) == 1) {
        if (f.number == 1) here.id = f.value;
        if (f.number == 2) here.mapping = f.value;
        if (f.number == 3) here.address = f.value;
        if (f.number == 4 && f.is_bytes && (failed = read_line(r, f.bytes)) != 0) return failed;
    }
    if (got) return fail(r, SI_EFORMAT, "a location is malformed");
    if (r->lines.count == here.first_line && (failed = read_line(r, (span){NULL, NULL})) != 0) return failed;
    here.lines = r->lines.count - here.first_line;
    location *out = add(r, &r->locations, sizeof *out, &failed);
    if (out) *out = here;
    return failed;
}

static int read_tables(reader *r, span s) {
    field f;
    int got, failed = SI_OK;
    while (!failed && (got = next_field(&s, &f)) != 0) {
        if (got < 0) return fail(r, SI_EFORMAT, "it is not a message of profile.proto");
        if (f.number == 9 && !f.is_bytes) r->time_ns = (int64_t)f.value;
        if (f.number == 10 && !f.is_bytes) r->duration_ns = (int64_t)f.value;
        if (!f.is_bytes) continue;
        if (f.number == 1) failed = read_type(r, f.bytes);
        if (f.number == 3) failed = read_mapping(r, f.bytes);
        if (f.number == 4) failed = read_location(r, f.bytes);
        if (f.number == 5) failed = read_function(r, f.bytes);
        if (f.number == 6) {
            span *text = add(r, &r->strings, sizeof *text, &failed);
            if (text) *text = f.bytes;
        }
    }
    return failed;
}

static int by_id(const void *a, const void *b) { /* the id is the first member of all */
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void *find(const table *t, size_t size, uint64_t id) {
    return t->count ? bsearch(&id, t->items, t->count, size, by_id) : NULL;
}

static void sort(table *t, size_t size) {
    if (t->count) qsort(t->items, t->count, size, by_id);
}

/* Text number `index`, cut to fit; "" when there is no such text. */
static const char *text_at(const reader *r, uint64_t index, char out[NAME]) {
    out[0] = '\0';
    if (index >= r->strings.count) return out;
    span s = ((const span *)r->strings.items)[index];
    size_t length = (size_t)(s.end - s.at), used = 0;
    if (length >= NAME) length = NAME - 1;
    for (size_t i = 0; i < length; i++) out[used++] = s.at[i] ? (char)s.at[i] : '?';
    out[used] = '\0';
    return out;
}

/* ---- Samples ---- */

static uint32_t frame_of(reader *r, const location *at, code_line *line) {
    char name[NAME], file[NAME], module_path[NAME], address[64];
    if (line->frame != UINT32_MAX) return line->frame;
    const function *f = find(&r->functions, sizeof *f, line->function);
    const mapping *m = find(&r->mappings, sizeof *m, at->mapping);
    text_at(r, m ? m->file : 0, module_path);
    const char *slash = strrchr(module_path, '/'), *module = slash ? slash + 1 : module_path;
    text_at(r, f ? f->name : 0, name);
    if (!name[0]) {
        snprintf(address, sizeof address, "[%.30s+0x%llx]", *module ? module : "unknown",
                 (unsigned long long)at->address);
        memcpy(name, address, sizeof address);
    }
    uint32_t number = line->line > UINT32_MAX ? 0 : (uint32_t)line->line;
    line->frame = si__calltree_frame(r->skeleton, name, text_at(r, f ? f->file : 0, file), number, module);
    return line->frame;
}

/* Stacks come leaf first, and lines of a location innermost first. 0 or SI_E*; over the tree's limit a call counts for
 * its caller. */
static int add_stack(reader *r, location *const *stack, size_t depth, uint32_t *node) {
    *node = 0;
    for (size_t i = depth; i-- > 0;) {
        code_line *lines = (code_line *)r->lines.items + stack[i]->first_line;
        for (size_t k = stack[i]->lines; k-- > 0;) {
            uint32_t frame = frame_of(r, stack[i], &lines[k]);
            uint32_t child = frame == UINT32_MAX ? UINT32_MAX : si__calltree_child(r->skeleton, *node, frame);
            if (child == UINT32_MAX) return SI_OK;
            *node = child;
        }
    }
    return SI_OK;
}

static int grow_samples(reader *r) {
    if (r->samples < r->sample_capacity) return SI_OK;
    if (r->samples == SAMPLES) return fail(r, SI_ELIMIT, "it has more than %zu samples", SAMPLES);
    size_t capacity = r->sample_capacity ? r->sample_capacity * 2 : 1024;
    uint32_t *nodes = realloc(r->nodes, capacity * sizeof *nodes);
    if (nodes) r->nodes = nodes;
    int64_t *values = realloc(r->values, capacity * r->type_count * sizeof *values);
    if (values) r->values = values;
    if (!nodes || !values) return SI_ENOMEM;
    r->sample_capacity = capacity;
    return SI_OK;
}

static int read_locations(reader *r, const field *f, location **stack, size_t *depth) {
    uint64_t id;
    int got;
    span rest = {NULL, NULL};
    while ((got = next_number(f, &rest, &id)) == 1) {
        if (*depth == SI__PPROF_MOST_DEPTH) {
            r->cut_stacks++;
            return SI_OK;
        }
        stack[*depth] = find(&r->locations, sizeof **stack, id);
        if (!stack[*depth])
            return fail(r, SI_EFORMAT, "sample %zu names location %llu, which is not there", r->samples,
                        (unsigned long long)id);
        ++*depth;
    }
    return got ? fail(r, SI_EFORMAT, "sample %zu is malformed", r->samples) : SI_OK;
}

static int read_sample(reader *r, span s) {
    location *stack[SI__PPROF_MOST_DEPTH];
    size_t depth = 0, values = 0;
    field f;
    int got, failed = grow_samples(r);
    if (failed) return failed;
    int64_t *mine = r->values + r->samples * r->type_count;
    while ((got = next_field(&s, &f)) == 1) {
        uint64_t value;
        span rest = {NULL, NULL};
        int more = 0;
        if (f.number == 1 && (failed = read_locations(r, &f, stack, &depth)) != 0) return failed;
        while (f.number == 2 && values < r->type_count && (more = next_number(&f, &rest, &value)) == 1)
            mine[values++] = (int64_t)value;
        if (more < 0) got = SI_EFORMAT;
        if (more < 0) break;
    }
    if (got) return fail(r, SI_EFORMAT, "sample %zu is malformed", r->samples);
    if (values != r->type_count)
        return fail(r, SI_EFORMAT, "sample %zu has %zu values, of %zu types", r->samples, values, r->type_count);
    failed = add_stack(r, stack, depth, &r->nodes[r->samples]);
    r->samples++;
    return failed;
}

static int read_samples(reader *r, span s) {
    field f;
    int failed = SI_OK;
    while (!failed && next_field(&s, &f) == 1)
        if (f.number == 2 && f.is_bytes) failed = read_sample(r, f.bytes);
    return failed;
}

/* ---- The file ---- */

static int gunzip(reader *r, const uint8_t *data, size_t length, uint8_t **out, size_t *out_length) {
    z_stream stream = {0};
    size_t capacity = length * 4 + 4096;
    if (inflateInit2(&stream, 15 + 16) != Z_OK) return SI_ENOMEM;
    stream.next_in = (unsigned char *)data;
    stream.avail_in = (unsigned)length;
    int state = Z_OK, failed = SI_OK;
    *out = NULL;
    while (state == Z_OK && !failed) {
        if (capacity > SI__PPROF_MOST_BYTES) capacity = SI__PPROF_MOST_BYTES;
        uint8_t *more = *out && stream.total_out == capacity ? NULL : realloc(*out, capacity);
        if (!more) {
            failed = *out && capacity == SI__PPROF_MOST_BYTES
                         ? fail(r, SI_ELIMIT, "it is larger than %zu MiB unpacked", SI__PPROF_MOST_BYTES >> 20)
                         : SI_ENOMEM;
            break;
        }
        *out = more;
        stream.next_out = *out + stream.total_out;
        stream.avail_out = (unsigned)(capacity - stream.total_out);
        state = inflate(&stream, Z_NO_FLUSH);
        if (state == Z_OK && stream.avail_out > 0 && stream.avail_in == 0) state = Z_DATA_ERROR; /* cut short */
        if (capacity < SI__PPROF_MOST_BYTES) capacity *= 2;
    }
    *out_length = stream.total_out;
    inflateEnd(&stream);
    if (!failed && state != Z_STREAM_END) failed = fail(r, SI_EFORMAT, "it is not whole: gzip says so");
    return failed;
}

/* The tree of one kind of value: the skeleton's calls with that value. */
static int make_profile(const reader *r, const si__pprof_type *type, si__pprof_profile *out) {
    out->tree = si__calltree_new();
    snprintf(out->type, sizeof out->type, "%s", type->name);
    snprintf(out->unit, sizeof out->unit, "%s", type->unit);
    if (!out->tree || si__calltree_merge(out->tree, r->skeleton)) return SI_ENOMEM;
    for (size_t i = 0; i < r->samples; i++) {
        const int64_t *values = r->values + i * r->type_count;
        int64_t value, count = type->count_from < 0 ? values[type->value_from] != 0 : values[type->count_from];
        if (__builtin_mul_overflow(values[type->value_from], type->factor, &value)) continue;
        si__calltree_add(out->tree, r->nodes[i], value, count < 0 ? 0 : (uint64_t)count);
    }
    out->samples = si__calltree_total_count(out->tree);
    return SI_OK;
}

static int make_profiles(reader *r, si__pprof_in *out) {
    char name[NAME], unit[NAME];
    int failed = SI_OK;
    for (size_t i = 0; i < r->type_count; i++)
        si__pprof_types_add(&r->types, text_at(r, r->type_names[i], name), text_at(r, r->type_units[i], unit));
    si__pprof_types_pair(&r->types);
    for (size_t i = 0; i < r->types.count && !failed; i++)
        failed = make_profile(r, &r->types.items[i], &out->profiles[out->count++]);
    out->time_ms = r->time_ns / 1000000;
    out->duration_ns = r->duration_ns;
    out->stacks = r->samples;
    out->cut_stacks = r->cut_stacks;
    return failed;
}

static int read_message(reader *r, span s, si__pprof_in *out) {
    int failed = read_tables(r, s);
    if (failed) return failed;
    if (!r->type_count) return fail(r, SI_EFORMAT, "it has no sample types: it is no pprof profile");
    sort(&r->functions, sizeof(function));
    sort(&r->mappings, sizeof(mapping));
    sort(&r->locations, sizeof(location));
    r->skeleton = si__calltree_new();
    failed = r->skeleton ? read_samples(r, s) : SI_ENOMEM;
    return failed ? failed : make_profiles(r, out);
}

int si__pprof_read(const uint8_t *data, size_t length, si__pprof_in *out, char *error, size_t error_bytes) {
    reader *r = calloc(1, sizeof *r);
    uint8_t *unpacked = NULL;
    int failed = SI_OK;
    *out = (si__pprof_in){0};
    if (!r) return SI_ENOMEM;
    *r = (reader){.strings = {.most = STRINGS, .name = "strings"},
                  .functions = {.most = FUNCTIONS, .name = "functions"},
                  .mappings = {.most = MAPPINGS, .name = "mappings"},
                  .locations = {.most = LOCATIONS, .name = "locations"},
                  .lines = {.most = LINES, .name = "lines"},
                  .error = error,
                  .error_bytes = error_bytes};
    if (length > 2 && data[0] == 0x1f && data[1] == 0x8b) {
        failed = gunzip(r, data, length, &unpacked, &length);
        data = unpacked;
    }
    if (!failed) failed = read_message(r, (span){data, data + length}, out);
    if (failed) si__pprof_in_clear(out);
    free(r->strings.items);
    free(r->functions.items);
    free(r->mappings.items);
    free(r->locations.items);
    free(r->lines.items);
    free(r->nodes);
    free(r->values);
    si__calltree_free(r->skeleton);
    free(unpacked);
    free(r);
    return failed;
}

void si__pprof_in_clear(si__pprof_in *in) {
    for (size_t i = 0; i < in->count; i++) si__calltree_free(in->profiles[i].tree);
    *in = (si__pprof_in){0};
}
