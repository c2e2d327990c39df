/*
 * pprof output, read back by a decoder of its own: every reference resolves, values add up, names, lines, inlined
 * calls, mappings and build ids are what went in; gzip accepts the file.
 */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <zlib.h>

#include "../../runtime/profile/pprof.h"
#include "../../runtime/profile/varint.h"
#include "allocation.h"
#include "fixture_code.h"
#include "si/si.h"

enum { MAX = 4096 };

typedef struct field {
    uint32_t number;
    uint64_t value;       /* varint */
    const uint8_t *bytes; /* NULL: a varint */
    size_t length;
} field;

/* Takes the next field; 0 at the end. Anything malformed fails the test. */
static int next_field(const uint8_t **at, const uint8_t *end, field *f) {
    uint64_t key = 0, value = 0;
    if (*at == end) return 0;
    size_t n = si__varint_get(*at, (size_t)(end - *at), &key);
    assert_true(n > 0);
    *at += n;
    n = si__varint_get(*at, (size_t)(end - *at), &value);
    assert_true(n > 0);
    *at += n;
    *f = (field){.number = (uint32_t)(key >> 3), .value = value};
    assert_true(f->number > 0);
    if ((key & 7) == 0) return 1;
    assert_int_equal(key & 7, 2);
    assert_true(value <= (uint64_t)(end - *at));
    f->bytes = *at;
    f->length = value;
    *at += value;
    return 1;
}

typedef struct decoded {
    uint8_t *raw;
    size_t raw_length;
    char *strings[MAX];
    size_t string_count;
    struct {
        uint64_t id, name, system_name, file;
    } functions[MAX];
    size_t function_count;
    struct {
        uint64_t id, mapping, address;
        struct {
            uint64_t function, line;
        } lines[8];
        size_t line_count;
    } locations[MAX];
    size_t location_count;
    struct {
        uint64_t id, start, limit, offset, file, build_id, has[4];
    } mappings[MAX];
    size_t mapping_count;
    struct {
        uint64_t locations[300];
        size_t depth;
        int64_t values[2];
    } samples[64];
    size_t sample_count;
    uint64_t types[4][2], period_type[2], period, time, duration, comment;
    size_t type_count;
} decoded;

static decoded d;

static size_t unpack(const field *f, uint64_t *out, size_t cap) {
    size_t count = 0;
    for (size_t at = 0; at < f->length;) {
        assert_true(count < cap);
        size_t n = si__varint_get(f->bytes + at, f->length - at, &out[count++]);
        assert_true(n > 0);
        at += n;
    }
    return count;
}

static void read_pair(const field *m, uint64_t out[2]) {
    const uint8_t *at = m->bytes;
    for (field f; next_field(&at, m->bytes + m->length, &f);) out[f.number - 1] = f.value;
}

static void read_sample(const field *m) {
    const uint8_t *at = m->bytes;
    for (field f; next_field(&at, m->bytes + m->length, &f);) {
        uint64_t values[2];
        if (f.number == 1) d.samples[d.sample_count].depth = unpack(&f, d.samples[d.sample_count].locations, 300);
        if (f.number != 2) continue;
        assert_int_equal(unpack(&f, values, 2), 2);
        d.samples[d.sample_count].values[0] = (int64_t)values[0];
        d.samples[d.sample_count].values[1] = (int64_t)values[1];
    }
    d.sample_count++;
}

static void read_location(const field *m) {
    const uint8_t *at = m->bytes;
    for (field f; next_field(&at, m->bytes + m->length, &f);) {
        if (f.number == 1) d.locations[d.location_count].id = f.value;
        if (f.number == 2) d.locations[d.location_count].mapping = f.value;
        if (f.number == 3) d.locations[d.location_count].address = f.value;
        if (f.number != 4) continue;
        uint64_t line[2] = {0};
        read_pair(&f, line);
        size_t i = d.locations[d.location_count].line_count++;
        d.locations[d.location_count].lines[i].function = line[0];
        d.locations[d.location_count].lines[i].line = line[1];
    }
    d.location_count++;
}

static void read_plain(const field *m, uint64_t *out) { /* out[number - 1] */
    const uint8_t *at = m->bytes;
    for (field f; next_field(&at, m->bytes + m->length, &f);) out[f.number - 1] = f.value;
}

static void decode(const uint8_t *gzip, size_t length) {
    memset(&d, 0, sizeof d);
    d.raw = malloc(10 << 20);
    z_stream stream = {
        .next_in = (Bytef *)(uintptr_t)gzip, .avail_in = (uInt)length, .next_out = d.raw, .avail_out = 10 << 20};
    assert_int_equal(inflateInit2(&stream, 31), Z_OK); /* gzip with its checksum only */
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    d.raw_length = stream.total_out;
    inflateEnd(&stream);
    const uint8_t *at = d.raw;
    for (field f; next_field(&at, d.raw + d.raw_length, &f);) {
        uint64_t plain[16] = {0};
        switch (f.number) {
        case 1:
            read_pair(&f, d.types[d.type_count++]);
            break;
        case 2:
            read_sample(&f);
            break;
        case 3:
            read_plain(&f, plain);
            memcpy(&d.mappings[d.mapping_count++], plain, sizeof d.mappings[0]);
            break;
        case 4:
            read_location(&f);
            break;
        case 5:
            read_plain(&f, plain);
            memcpy(&d.functions[d.function_count++], plain, sizeof d.functions[0]);
            break;
        case 6:
            d.strings[d.string_count++] = strndup((const char *)f.bytes, f.length);
            break;
        case 9:
            d.time = f.value;
            break;
        case 10:
            d.duration = f.value;
            break;
        case 11:
            read_pair(&f, d.period_type);
            break;
        case 12:
            d.period = f.value;
            break;
        case 13:
            d.comment = f.value;
            break;
        default:
            fail();
        }
    }
}

static void decoded_free(void) {
    for (size_t i = 0; i < d.string_count; i++) free(d.strings[i]);
    free(d.raw);
}

/* What every reader checks: ids from 1 and unique, references that resolve, values as many as types. */
static void check_references(void) {
    assert_true(d.string_count > 0);
    assert_string_equal(d.strings[0], "");
    for (size_t i = 0; i < d.function_count; i++) {
        assert_int_equal(d.functions[i].id, i + 1);
        assert_in_range(d.functions[i].name, 1, d.string_count - 1);
        assert_in_range(d.functions[i].system_name, 1, d.string_count - 1);
        assert_in_range(d.functions[i].file, 0, d.string_count - 1);
    }
    for (size_t i = 0; i < d.mapping_count; i++) {
        assert_int_equal(d.mappings[i].id, i + 1);
        assert_true(d.mappings[i].start < d.mappings[i].limit);
        assert_in_range(d.mappings[i].file, 1, d.string_count - 1);
        assert_in_range(d.mappings[i].build_id, 0, d.string_count - 1);
    }
    static uint8_t seen[MAX];
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < d.location_count; i++) {
        assert_in_range(d.locations[i].id, 1, d.location_count);
        assert_int_equal(seen[d.locations[i].id]++, 0);
        assert_in_range(d.locations[i].line_count, 1, 8);
        for (size_t k = 0; k < d.locations[i].line_count; k++)
            assert_in_range(d.locations[i].lines[k].function, 1, d.function_count);
        uint64_t mapping = d.locations[i].mapping;
        assert_in_range(mapping, 0, d.mapping_count);
        if (mapping)
            assert_in_range(d.locations[i].address, d.mappings[mapping - 1].start, d.mappings[mapping - 1].limit - 1);
    }
    for (size_t i = 0; i < d.sample_count; i++)
        for (size_t k = 0; k < d.samples[i].depth; k++) assert_in_range(d.samples[i].locations[k], 1, d.location_count);
}

static size_t location_with(uint64_t id) {
    for (size_t i = 0; i < d.location_count; i++)
        if (d.locations[i].id == id) return i;
    fail();
    return 0;
}

static const char *name_of(uint64_t function) {
    return d.strings[d.functions[function - 1].name];
}

/* ---- The profile that is written ---- */

static si__binaries *binaries;
static si__space *space;
static si__stacks *stacks;
static si__profile *profile;
static si__rawprofile *raw;
static si__symbolizer *symbolizer;
static uintptr_t marks[8];
static const si__pprof_options options = {.type = "cpu",
                                          .unit = "nanoseconds",
                                          .period = 10000000,
                                          .start_unix_ns = 1700000000000000000,
                                          .duration_ns = 5000000000,
                                          .comment = "made by a test"};

static int setup(void **state) {
    (void)state;
    if (!fixture_open()) return -1;
    void *handle = dlopen(fixture_path("fixture.so"), RTLD_NOW);
    void (*outer)(uintptr_t *) = (void (*)(uintptr_t *))(uintptr_t)dlsym(handle, "fixture_outer");
    if (!outer) return -1;
    outer(marks);
    uint64_t pcs[64] = {marks[0]}; /* as if sampled in the fixture, called from here */
    size_t depth = walk_here(pcs + 1, 63);

    si__module_list modules;
    if (si__module_list_read(getpid(), &modules)) return -1;
    binaries = si__binaries_new();
    space = si__space_new(binaries, &modules, "");
    stacks = si__stacks_new(0);
    profile = si__profile_new();
    symbolizer = si__symbolizer_new(0);
    si__module_list_free(&modules);
    dlclose(handle);
    si__profile_add(profile, si__stacks_intern(stacks, space, pcs, depth + 1, 0), 70000000, 7);
    uint64_t jit[] = {0x1000, pcs[2]};
    si__profile_add(profile, si__stacks_intern(stacks, space, jit, 2, 0), 10000000, 1);
    raw = si__rawprofile_new(stacks, profile);
    return raw ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    si__rawprofile_free(raw);
    si__symbolizer_free(symbolizer);
    si__profile_free(profile);
    si__stacks_free(stacks);
    si__space_free(space);
    si__binaries_free(binaries);
    fixture_close();
    return 0;
}

static void everything_is_in_it(void **state) {
    (void)state;
    uint8_t *bytes;
    size_t length;
    assert_int_equal(si__pprof_encode(raw, symbolizer, &options, &bytes, &length), 0);
    decode(bytes, length);
    free(bytes);
    check_references();

    assert_int_equal(d.type_count, 2);
    assert_string_equal(d.strings[d.types[0][0]], "samples");
    assert_string_equal(d.strings[d.types[0][1]], "count");
    assert_string_equal(d.strings[d.types[1][0]], "cpu");
    assert_string_equal(d.strings[d.types[1][1]], "nanoseconds");
    assert_string_equal(d.strings[d.period_type[0]], "cpu");
    assert_true(d.period == 10000000 && d.time == 1700000000000000000u && d.duration == 5000000000u);
    assert_string_equal(d.strings[d.comment], "made by a test");

    assert_int_equal(d.sample_count, 2);
    size_t big = d.samples[0].values[0] == 7 ? 0 : 1;
    assert_true(d.samples[big].values[1] == 70000000);
    assert_true(d.samples[1 - big].values[0] == 1 && d.samples[1 - big].values[1] == 10000000);

    size_t leaf = location_with(d.samples[big].locations[0]); /* leaf first */
    assert_int_equal(d.locations[leaf].line_count, 3);
    assert_string_equal(name_of(d.locations[leaf].lines[0].function), "innermost");
    assert_string_equal(name_of(d.locations[leaf].lines[1].function), "middle");
    assert_string_equal(name_of(d.locations[leaf].lines[2].function), "fixture_outer");
    assert_int_equal(d.locations[leaf].lines[0].line, 9);
    assert_int_equal(d.locations[leaf].lines[2].line, 16);
    assert_int_equal(d.locations[leaf].address, marks[0]);
    size_t caller = location_with(d.samples[big].locations[1]);
    assert_string_equal(name_of(d.locations[caller].lines[0].function), "setup");

    size_t m = d.locations[leaf].mapping - 1;
    assert_string_equal(d.strings[d.mappings[m].file], fixture_path("fixture.so"));
    assert_int_equal(strlen(d.strings[d.mappings[m].build_id]), 40);
    assert_true(d.mappings[m].has[0] && d.mappings[m].has[1] && d.mappings[m].has[2] && d.mappings[m].has[3]);

    size_t jit = location_with(d.samples[1 - big].locations[0]);
    assert_string_equal(name_of(d.locations[jit].lines[0].function), "[anonymous]");
    assert_int_equal(d.locations[jit].mapping, 0);
    decoded_free();
}

static void strings_are_utf8(void **state) {
    (void)state;
    uint8_t *bytes;
    size_t length;
    si__pprof_options hostile = {.type = "cpu", .unit = "nanoseconds", .comment = "name\xff\xfe of \xc3\xa4\n"};
    assert_int_equal(si__pprof_encode(raw, symbolizer, &hostile, &bytes, &length), 0);
    decode(bytes, length);
    free(bytes);
    assert_string_equal(d.strings[d.comment], "name?? of \xc3\xa4?");
    decoded_free();
}

static void gzip_accepts_the_file(void **state) {
    (void)state;
    assert_int_equal(si__pprof_save(raw, symbolizer, &options, fixture_path("cpu.pb.gz")), 0);
    assert_true(shell("gzip -t cpu.pb.gz && test -z \"$(ls | grep 'gz[.]')\""));
    assert_int_equal(si__pprof_save(raw, symbolizer, &options, "/nonexistent/cpu.pb.gz"), SI_EIO);
}

static void an_empty_profile_is_valid(void **state) {
    (void)state;
    si__profile *empty = si__profile_new();
    si__rawprofile *nothing = si__rawprofile_new(stacks, empty);
    uint8_t *bytes;
    size_t length;
    si__pprof_options bare = {.type = "heap", .unit = "bytes"};
    assert_int_equal(si__pprof_encode(nothing, symbolizer, &bare, &bytes, &length), 0);
    decode(bytes, length);
    free(bytes);
    check_references();
    assert_int_equal(d.sample_count + d.location_count, 0);
    assert_string_equal(d.strings[d.types[1][1]], "bytes");
    decoded_free();
    si__rawprofile_free(nothing);
    si__profile_free(empty);
}

static int encode(void) {
    uint8_t *bytes = NULL;
    size_t length = 0;
    int result = si__pprof_encode(raw, symbolizer, &options, &bytes, &length);
    assert_true(result == 0 || (result == SI_ENOMEM && !bytes));
    if (result == 0) {
        long saved = allocations_left;
        allocations_left = -1;
        decode(bytes, length);
        check_references();
        decoded_free();
        allocations_left = saved;
    }
    free(bytes);
    return result == 0;
}

static void survives_every_failing_allocation(void **state) {
    (void)state;
    assert_true(fail_every_allocation(encode) > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_in_it),
        cmocka_unit_test(strings_are_utf8),
        cmocka_unit_test(gzip_accepts_the_file),
        cmocka_unit_test(an_empty_profile_is_valid),
        cmocka_unit_test(survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
