/*
 * Symbolizing ELF files of any content: symbols, function ranges, PLT entries and DWARF at many addresses, and the
 * demangler on any text. The first byte chooses; a seed is this program itself, cut to its first pages.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../../runtime/symbol/demangle.h"
#include "../../runtime/symbol/function_range.h"
#include "../../runtime/symbol/symbolizer.h"

enum { OFFSETS = 64 };

static char path[64];

static void remove_file(void) {
    unlink(path);
}

static void check(void *arg, size_t index, const si__symbol *frames, size_t count) {
    unsigned *answered = arg;
    if (index >= OFFSETS || count == 0 || count > SI__INLINE_MAX) abort();
    (*answered)++;
    for (size_t i = 0; i < count; i++) {
        if (!frames[i].function[0] || strlen(frames[i].function) >= SI__NAME_MAX) abort();
        if (!frames[i].system_name || !frames[i].file) abort();
    }
}

static void symbolize_file(const uint8_t *data, size_t size) {
    FILE *out = fopen(path, "w");
    if (!out || fwrite(data, 1, size, out) != size) abort();
    fclose(out);
    struct stat st;
    if (stat(path, &st)) abort();
    si__module module = {
        .start = 0x10000, .end = 0x10000 + size, .device = st.st_dev, .inode = st.st_ino, .path = path};
    si__binaries *binaries = si__binaries_new();
    si__symbolizer *symbolizer = si__symbolizer_new(0);
    si__binary *binary = si__binaries_intern(binaries, &module, "");
    uint64_t offsets[OFFSETS];
    unsigned answered = 0;
    for (size_t i = 0; i < OFFSETS; i++) offsets[i] = i * (size / OFFSETS + 1);
    if (!binary || si__symbolizer_resolve(symbolizer, binary, offsets, OFFSETS, check, &answered)) abort();
    if (answered != OFFSETS) abort();
    si__binary_release(binary);
    si__symbolizer_free(symbolizer);
    si__binaries_free(binaries);
}

static void demangle_text(const uint8_t *data, size_t size, const char *prefix) {
    char *name = malloc(size + strlen(prefix) + 1), out[SI__NAME_MAX];
    if (!name) abort();
    strcpy(name, prefix);
    memcpy(name + strlen(prefix), data, size);
    name[strlen(prefix) + size] = 0;
    if (si__demangle(name, out) != strlen(out)) abort();
    free(name);
}

static void find_ranges(const uint8_t *data, size_t size) {
    si__query queries[OFFSETS] = {0};
    for (size_t i = 0; i < OFFSETS; i++) queries[i].address = 0x1000 + i * 0x40;
    uint8_t *copy = malloc(size + 1); /* of its exact size: reading beyond it is noticed */
    memcpy(copy, data, size);
    si__function_ranges(copy, size, 0x2000, queries, OFFSETS);
    free(copy);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    snprintf(path, sizeof path, "/tmp/si-symbol-fuzz-%d", (int)getpid());
    atexit(remove_file);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    switch (data[0] % 4) {
    case 0:
        symbolize_file(data + 1, size - 1);
        break;
    case 1:
        demangle_text(data + 1, size - 1, "_Z");
        break;
    case 2:
        demangle_text(data + 1, size - 1, "");
        break;
    default:
        find_ranges(data + 1, size - 1);
    }
    return 0;
}
