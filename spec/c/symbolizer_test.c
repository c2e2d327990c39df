/*
 * The symbolizer on real files: DWARF with inlined calls, stripped copies, separate debug files, libc, C++, the
 * vdso, PLT entries, files that are replaced or gone, and hostile names.
 */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/auxv.h>

#include <cmocka.h>
#include <gelf.h>

#include "../../runtime/symbol/elf_note.h"
#include "../../runtime/symbol/symbolizer.h"
#include "allocation.h"
#include "fixture_code.h"
#include "si/si.h"

enum { FRAMES_MAX = 40 };

typedef struct frame {
    char function[4097], system_name[4097], file[512];
    uint32_t line;
    int inlined;
} frame;

typedef struct answer {
    frame frames[FRAMES_MAX];
    size_t count, puts;
} answer;

static answer got;
static si__binaries *binaries;
static si__symbolizer *symbolizer;
static uint64_t offsets[8]; /* file offsets of the HERE marks in fixture.so and its copies */

static void put(void *arg, size_t index, const si__symbol *frames, size_t count) {
    answer *a = (answer *)arg + index;
    a->puts++;
    a->count = count;
    assert_in_range(count, 1, SI__INLINE_MAX);
    for (size_t i = 0; i < count; i++) {
        snprintf(a->frames[i].function, sizeof a->frames[i].function, "%s", frames[i].function);
        snprintf(a->frames[i].system_name, sizeof a->frames[i].system_name, "%s", frames[i].system_name);
        snprintf(a->frames[i].file, sizeof a->frames[i].file, "%s", frames[i].file);
        a->frames[i].line = frames[i].line;
        a->frames[i].inlined = frames[i].inlined;
    }
}

static const frame *resolve(const si__binary *binary, uint64_t offset) {
    got.puts = 0;
    assert_int_equal(si__symbolizer_resolve(symbolizer, binary, &offset, 1, put, &got), 0);
    assert_int_equal(got.puts, 1);
    return got.frames;
}

static si__binary *binary_at(const char *path) {
    si__module module = fixture_module(path, 0x10000);
    si__binary *binary = si__binaries_intern(binaries, &module, "");
    assert_non_null(binary);
    return binary;
}

/* The binary and file offset of an address in this process. */
static si__binary *binary_of(const void *address, uint64_t *offset) {
    si__module_list modules;
    assert_int_equal(si__module_list_read(getpid(), &modules), 0);
    const si__module *m = si__module_find(&modules, (uint64_t)(uintptr_t)address);
    assert_non_null(m);
    *offset = (uint64_t)(uintptr_t)address - m->start + m->file_offset;
    si__binary *binary = si__binaries_intern(binaries, m, "");
    assert_non_null(binary);
    si__module_list_free(&modules);
    return binary;
}

/* Calls a function of a fixture library and gives back the offsets that it stored. */
static void call(const char *library, const char *function, uint64_t *out, size_t count) {
    uintptr_t pcs[8] = {0};
    void *handle = dlopen(fixture_path(library), RTLD_NOW);
    assert_non_null(handle);
    int (*fn)(uintptr_t *) = (int (*)(uintptr_t *))(uintptr_t)dlsym(handle, function);
    assert_non_null(fn);
    fn(pcs);
    for (size_t i = 0; i < count; i++) {
        if (!pcs[i]) continue;
        si__binary *binary = binary_of((void *)pcs[i], &out[i]);
        si__binary_release(binary);
    }
    dlclose(handle);
}

static int setup(void **state) {
    (void)state;
    binaries = si__binaries_new();
    symbolizer = si__symbolizer_new(0);
    if (!binaries || !symbolizer || !fixture_open()) return -1;
    uint64_t pid_is_added[8];
    call("fixture.so", "fixture_outer", offsets, 3);
    call("fixture.so", "fixture_static", pid_is_added, 5);
    offsets[3] = pid_is_added[3];
    offsets[4] = pid_is_added[4];
    memset(pid_is_added, 0, sizeof pid_is_added);
    call("fixture.so", "fixture_alias", pid_is_added, 7);
    offsets[6] = pid_is_added[6];
    return 0;
}

static int teardown(void **state) {
    (void)state;
    si__symbolizer_free(symbolizer);
    si__binaries_free(binaries);
    fixture_close();
    return 0;
}

static void check_frame(const frame *f, const char *function, uint32_t line, int inlined) {
    assert_string_equal(f->function, function);
    assert_non_null(strstr(f->file, "/fixture.c"));
    assert_int_equal(f->line, line);
    assert_int_equal(f->inlined, inlined);
}

static void check_with_lines(const si__binary *binary) {
    const frame *f = resolve(binary, offsets[0]);
    assert_int_equal(got.count, 3);
    check_frame(&f[0], "innermost", 9, 1);
    check_frame(&f[1], "middle", 12, 1);
    check_frame(&f[2], "fixture_outer", 16, 0);
    f = resolve(binary, offsets[1]);
    assert_int_equal(got.count, 2);
    check_frame(&f[0], "middle", 13, 1);
    check_frame(&f[1], "fixture_outer", 16, 0);
    f = resolve(binary, offsets[2]);
    assert_int_equal(got.count, 1);
    check_frame(&f[0], "fixture_outer", 17, 0);
    check_frame(resolve(binary, offsets[3]), "hidden_helper", 20, 0);
    check_frame(resolve(binary, offsets[4]), "hidden_helper", 22, 0);
    check_frame(resolve(binary, offsets[6]), "fixture_alias", 28, 0); /* not __fixture_internal */
}

static void dwarf_gives_lines_and_inlined_calls(void **state) {
    (void)state;
    si__binary *binary = binary_at(fixture_path("fixture.so"));
    check_with_lines(binary);
    si__symbolizer_counts before, after;
    si__symbolizer_counts_get(symbolizer, &before);
    check_with_lines(binary); /* from the cache now */
    si__symbolizer_counts_get(symbolizer, &after);
    assert_int_equal(after.opened, before.opened);
    assert_int_equal(after.cached, before.cached + 6);
    si__binary_release(binary);
}

static void clang_files_without_aranges_work(void **state) {
    (void)state;
    if (!shell("clang -O2 -g -fPIC -shared -o clang.so fixture.c 2>/dev/null || "
               "(cp fixture.so clang.so && objcopy --remove-section .debug_aranges clang.so)"))
        fail();
    uint64_t there[8];
    call("clang.so", "fixture_outer", there, 3);
    si__binary *binary = binary_at(fixture_path("clang.so"));
    const frame *f = resolve(binary, there[0]);
    assert_int_equal(got.count, 3);
    check_frame(&f[0], "innermost", 9, 1);
    check_frame(&f[2], "fixture_outer", 16, 0);
    si__binary_release(binary);
}

static void a_batch_is_answered_whole(void **state) {
    (void)state;
    si__symbolizer *fresh = si__symbolizer_new(0);
    si__binary *binary = binary_at(fixture_path("fixture.so"));
    uint64_t batch[] = {offsets[6], offsets[3], offsets[0], 0x7fffffff, offsets[0], UINT64_MAX, 0};
    static answer answers[7];
    assert_int_equal(si__symbolizer_resolve(fresh, binary, batch, 7, put, answers), 0);
    for (int i = 0; i < 7; i++) assert_int_equal(answers[i].puts, 1);
    assert_string_equal(answers[0].frames[0].function, "fixture_alias");
    assert_string_equal(answers[1].frames[0].function, "hidden_helper");
    assert_string_equal(answers[2].frames[0].function, "innermost");
    assert_string_equal(answers[4].frames[0].function, "innermost");
    assert_string_equal(answers[3].frames[0].function, "[fixture.so+0x7fffffff]");
    si__symbolizer_counts counts;
    si__symbolizer_counts_get(fresh, &counts);
    assert_int_equal(counts.opened, 1);
    si__binary_release(binary);
    si__symbolizer_free(fresh);
}

static void a_stripped_function_is_one_frame(void **state) {
    (void)state;
    assert_true(shell("cp fixture.so stripped.so && strip --strip-all stripped.so"));
    si__binary *binary = binary_at(fixture_path("stripped.so"));
    const frame *f = resolve(binary, offsets[0]);
    assert_int_equal(got.count, 1);
    assert_string_equal(f->function, "fixture_outer"); /* exported: in .dynsym */
    assert_string_equal(f->file, "");
    char name[128];
    snprintf(name, sizeof name, "%.100s", resolve(binary, offsets[3])->function);
    assert_int_equal(strncmp(name, "[stripped.so+0x", 15), 0);
    assert_string_equal(resolve(binary, offsets[4])->function, name); /* another place in the same function */
    assert_true(strtoull(name + 13, NULL, 16) <= offsets[3]);
    assert_string_equal(resolve(binary, offsets[6])->function, "fixture_alias");
    si__binary_release(binary);
}

static void separate_debug_files_are_found_and_checked(void **state) {
    (void)state;
    /* By build id, beside the file in .debug/. */
    assert_true(shell("mkdir -p split/.debug && objcopy --only-keep-debug fixture.so split/.debug/split.debug && "
                      "objcopy --strip-all --add-gnu-debuglink=split/.debug/split.debug fixture.so split/split.so"));
    si__binary *binary = binary_at(fixture_path("split/split.so"));
    check_with_lines(binary);
    si__binary_release(binary);

    /* Without one, by checksum. */
    assert_true(shell("objcopy --remove-section .note.gnu.build-id fixture.so noid.so && "
                      "objcopy --only-keep-debug noid.so noid.debug && "
                      "objcopy --strip-all --add-gnu-debuglink=noid.debug noid.so noid-split.so"));
    binary = binary_at(fixture_path("noid-split.so"));
    assert_string_equal(binary->build_id, "");
    check_with_lines(binary);
    si__binary_release(binary);

    /* A debug file of another build is not believed. */
    assert_true(shell("objcopy --strip-all --add-gnu-debuglink=noid.debug noid.so other.so && "
                      "printf x >> noid.debug"));
    binary = binary_at(fixture_path("other.so"));
    assert_string_equal(resolve(binary, offsets[0])->file, "");
    si__binary_release(binary);
}

/* The start of a section of a file, and its size. */
static uint64_t section_offset(const char *path, const char *wanted, uint64_t *size) {
    uint64_t offset = 0;
    size_t names;
    elf_version(EV_CURRENT);
    FILE *file = fopen(path, "r");
    Elf *elf = elf_begin(fileno(file), ELF_C_READ, NULL);
    assert_int_equal(elf_getshdrstrndx(elf, &names), 0);
    for (Elf_Scn *s = NULL; (s = elf_nextscn(elf, s));) {
        GElf_Shdr header;
        gelf_getshdr(s, &header);
        if (strcmp(elf_strptr(elf, names, header.sh_name), wanted) != 0) continue;
        offset = header.sh_offset;
        *size = header.sh_size;
    }
    elf_end(elf);
    fclose(file);
    return offset;
}

static void compressed_debug_sections_are_read(void **state) {
    (void)state;
    assert_true(shell("objcopy --compress-debug-sections=zlib fixture.so packed.so"));
    si__binary *binary = binary_at(fixture_path("packed.so"));
    check_with_lines(binary);
    si__binary_release(binary);

    /* A section that says it would be huge is not believed: names remain, lines do not. */
    uint64_t size, offset = section_offset(fixture_path("packed.so"), ".debug_info", &size);
    uint64_t huge = UINT64_MAX / 2;
    FILE *file = fopen(fixture_path("packed.so"), "r+");
    assert_int_equal(fseek(file, (long)offset + 8, SEEK_SET), 0); /* ch_size */
    assert_int_equal(fwrite(&huge, sizeof huge, 1, file), 1);
    fclose(file);
    binary = binary_at(fixture_path("packed.so"));
    assert_string_equal(resolve(binary, offsets[3])->function, "hidden_helper");
    assert_string_equal(got.frames[0].file, "");
    si__binary_release(binary);
}

static void libc_is_named_by_its_public_names(void **state) {
    (void)state;
    static const char *const names[] = {"malloc", "read", "qsort", "getpid", "fwrite", "printf", "pthread_create"};
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    assert_non_null(libc);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        uint64_t offset;
        si__binary *binary = binary_of(dlsym(libc, names[i]), &offset);
        assert_string_equal(binary->name, "libc.so.6");
        resolve(binary, offset);
        assert_string_equal(got.frames[got.count - 1].function, names[i]);
        si__binary_release(binary);
    }
    dlclose(libc);
}

static void cxx_names_are_demangled(void **state) {
    (void)state;
    assert_true(fixture_write("fixture.cc", fixture_cxx, sizeof fixture_cxx - 1));
    assert_true(shell("c++ -O2 -g -fPIC -shared -o cxx.so fixture.cc"));
    uint64_t there[8] = {0};
    call("cxx.so", "fixture_cxx", there, 3);
    si__binary *binary = binary_at(fixture_path("cxx.so"));
    const char *map = "std::map<int, long, std::less<int>, std::allocator<std::pair<int const, long> > >";
    char name[512];
    const frame *f = resolve(binary, there[0]);
    assert_int_equal(got.count, 2);
    snprintf(name, sizeof name, "shop::Cart<%s >::price(unsigned long*) const", map);
    assert_string_equal(f[0].function, name);
    assert_int_equal(f[0].line, 11);
    snprintf(name, sizeof name, "shop::Cart<%s >::total(unsigned long*, %s const&) const", map, map);
    assert_string_equal(f[1].function, name);
    assert_int_equal(f[1].line, 13);
    assert_int_equal(strncmp(f[1].system_name, "_ZNK4shop4CartI", 15), 0);
    f = resolve(binary, there[2]); /* a function inside a function */
    assert_int_equal(got.count, 1);
    assert_string_equal(f[0].function, "fixture_cxx::{lambda(unsigned long*)#1}::operator()(unsigned long*) const");
    assert_int_equal(f[0].line, 22);
    si__binary_release(binary);
}

static void plt_entries_carry_the_name_of_their_target(void **state) {
    (void)state;
    static const struct {
        const char *flags, *section;
        uint64_t skip;
    } cases[] = {
        {"-Wl,-z,lazy -fcf-protection=none", ".plt", 16},
        {"-Wl,-z,lazy -fcf-protection=full -Wl,-z,ibtplt", ".plt", 16},
        {"-Wl,-z,lazy -fcf-protection=full -Wl,-z,ibtplt", ".plt.sec", 0},
    };
#if !defined(__x86_64__)
    skip();
#endif
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(shell("cc -O2 -fPIC -shared %s -o plt%zu.so fixture.c && strip plt%zu.so", cases[i].flags, i, i));
        char file[32];
        snprintf(file, sizeof file, "plt%zu.so", i);
        uint64_t size = 0, offset = section_offset(fixture_path(file), cases[i].section, &size);
        assert_true(offset != 0);
        si__binary *binary = binary_at(fixture_path(file));
        int found = 0;
        for (uint64_t at = cases[i].skip; at < size; at += 16)
            found += strcmp(resolve(binary, offset + at + 5)->function, "getpid@plt") == 0;
        assert_int_equal(found, 1);
        si__binary_release(binary);
    }
}

static void the_vdso_has_names_and_a_build_id(void **state) {
    (void)state;
    if (!getauxval(AT_SYSINFO_EHDR)) skip();
    uint64_t offset;
    si__binary *binary = binary_of((void *)getauxval(AT_SYSINFO_EHDR), &offset);
    assert_string_equal(binary->path, "[vdso]");
    assert_true(strlen(binary->build_id) >= 16);
    size_t length, symbols = 0;
    const char *image = si__vdso_image(&length);
    Elf *elf = elf_memory((char *)(uintptr_t)image, length);
    for (Elf_Scn *s = NULL; (s = elf_nextscn(elf, s));) {
        GElf_Shdr header;
        gelf_getshdr(s, &header);
        if (header.sh_type != SHT_DYNSYM) continue;
        Elf_Data *data = elf_getdata(s, NULL);
        for (int i = 1; i < (int)(header.sh_size / header.sh_entsize); i++) {
            GElf_Sym symbol;
            gelf_getsym(data, i, &symbol);
            if (GELF_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_size == 0) continue;
            const char *name = resolve(binary, symbol.st_value)->function;
            assert_true(name[0] != '[');
            symbols++;
        }
    }
    elf_end(elf);
    assert_true(symbols > 0);
    si__binary_release(binary);
}

static void a_file_that_was_replaced_is_not_used(void **state) {
    (void)state;
    assert_true(shell("cp fixture.so replaced.so"));
    si__binary *binary = binary_at(fixture_path("replaced.so"));
    assert_true(shell("cp stripped.so new.so && mv new.so replaced.so"));
    char name[128];
    snprintf(name, sizeof name, "[replaced.so (deleted)+0x%llx]", (unsigned long long)offsets[0]);
    assert_string_equal(resolve(binary, offsets[0])->function, name);
    si__binary *other = binary_at(fixture_path("replaced.so")); /* what is there now is another binary */
    assert_true(other->serial != binary->serial);
    assert_string_equal(resolve(other, offsets[0])->function, "fixture_outer");
    assert_string_equal(resolve(other, offsets[0])->file, "");
    si__binary_release(other);

    /* Written over in place: the same inode with other contents. */
    other = binary_at(fixture_path("replaced.so"));
    assert_true(shell("cat fixture.so > replaced.so"));
    assert_int_equal(strncmp(resolve(other, offsets[3])->function, "[replaced.so (deleted)+0x", 24), 0);
    si__binary *again = binary_at(fixture_path("replaced.so"));
    assert_true(again->serial != other->serial);
    check_with_lines(again);
    si__binary_release(again);
    si__binary_release(other);
    si__binary_release(binary);
}

static void a_deleted_file_is_read_through_its_mapping(void **state) {
    (void)state;
    assert_true(shell("cp fixture.so deleted.so"));
    void *handle = dlopen(fixture_path("deleted.so"), RTLD_NOW);
    assert_non_null(handle);
    uint64_t offset;
    assert_true(shell("rm deleted.so"));
    si__binary *binary = binary_of(dlsym(handle, "fixture_outer"), &offset);
    assert_true(binary->deleted);
    const frame *f = resolve(binary, offset);
    if (binary->build_id[0]) { /* we may open map_files: root, or CAP_CHECKPOINT_RESTORE */
        assert_string_equal(got.frames[got.count - 1].function, "fixture_outer");
        assert_non_null(strstr(f->file, "/fixture.c"));
    } else {
        assert_int_equal(strncmp(f->function, "[deleted.so (deleted)+0x", 24), 0);
    }
    dlclose(handle);
    uint64_t later = offsets[2]; /* the mapping is gone now, too */
    assert_int_equal(strncmp(resolve(binary, later)->function, "[deleted.so (deleted)+0x", 24), 0);
    si__binary_release(binary);
}

static void files_that_are_no_elf_give_places(void **state) {
    (void)state;
    assert_true(shell("printf 'not an ELF file' > text.so && head -c 3000 fixture.so > cut.so && mkfifo pipe.so"));
    static const char *const names[] = {"text.so", "cut.so", "pipe.so"};
    for (size_t i = 0; i < 3; i++) {
        si__binary *binary = binary_at(fixture_path(names[i]));
        assert_int_equal(resolve(binary, offsets[0])->function[0], '[');
        si__binary_release(binary);
    }
}

static void huge_names_are_cut(void **state) {
    (void)state;
    char *source = malloc(200000);
    size_t n = (size_t)sprintf(source, "#include <stdint.h>\nint fixture_huge(uintptr_t *out) __asm__(\"");
    memset(source + n, 'x', 100000);
    sprintf(source + n + 100000, "\");\nint fixture_huge(uintptr_t *out) { return (int)out[0]; }\n");
    assert_true(fixture_write("huge.c", source, strlen(source)));
    free(source);
    assert_true(shell("cc -O2 -fPIC -shared -o huge.so huge.c"));
    uint64_t size, offset = section_offset(fixture_path("huge.so"), ".text", &size);
    si__binary *binary = binary_at(fixture_path("huge.so"));
    int found = 0;
    for (uint64_t at = 0; at < size; at++) found += resolve(binary, offset + at)->function[0] == 'x';
    assert_true(found > 0);
    si__binary_release(binary);
}

static void the_cache_stays_within_its_bound(void **state) {
    (void)state;
    si__symbolizer *small = si__symbolizer_new(1);
    si__symbolizer_counts counts;
    si__binary *binary = binary_at(fixture_path("fixture.so"));
    static uint64_t many[4000];
    static answer unused[4000 / 1000];
    for (size_t i = 0; i < 4000; i++) many[i] = 0x100000 + i;
    for (size_t i = 0; i < 4000; i++) si__symbolizer_resolve(small, binary, &many[i], i % 1000 == 0, put, unused);
    for (size_t round = 0; round < 2; round++)
        for (size_t i = 0; i < 3000; i += 1)
            if (i % 10 == 0) assert_int_equal(si__symbolizer_resolve(small, binary, &many[i], 1, put, unused), 0);
    si__symbolizer_counts_get(small, &counts);
    assert_true(counts.cache_bytes < 200000);
    assert_true(counts.cache_entries > 100);
    assert_true(counts.cached > 200);
    si__binary_release(binary);
    si__symbolizer_free(small);
}

static int resolve_all(void) {
    static answer answers[4];
    memset(answers, 0, sizeof answers);
    si__symbolizer *fresh = si__symbolizer_new(0);
    si__binaries *table = si__binaries_new();
    si__module module = fixture_module(fixture_path("fixture.so"), 0x10000);
    si__binary *binary = table ? si__binaries_intern(table, &module, "") : NULL;
    int whole = fresh && binary && si__symbolizer_resolve(fresh, binary, offsets, 4, put, answers) == 0;
    if (whole)
        whole = answers[0].count == 3 && strcmp(answers[0].frames[0].function, "innermost") == 0 &&
                strstr(answers[0].frames[0].file, "fixture.c") && answers[3].count == 1 && binary->build_id[0];
    si__binary_release(binary);
    if (table) si__binaries_free(table);
    si__symbolizer_free(fresh);
    return whole;
}

static void survives_every_failing_allocation(void **state) {
    (void)state;
    assert_true(fail_every_allocation(resolve_all) > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dwarf_gives_lines_and_inlined_calls),
        cmocka_unit_test(clang_files_without_aranges_work),
        cmocka_unit_test(a_batch_is_answered_whole),
        cmocka_unit_test(a_stripped_function_is_one_frame),
        cmocka_unit_test(separate_debug_files_are_found_and_checked),
        cmocka_unit_test(compressed_debug_sections_are_read),
        cmocka_unit_test(libc_is_named_by_its_public_names),
        cmocka_unit_test(cxx_names_are_demangled),
        cmocka_unit_test(plt_entries_carry_the_name_of_their_target),
        cmocka_unit_test(the_vdso_has_names_and_a_build_id),
        cmocka_unit_test(a_file_that_was_replaced_is_not_used),
        cmocka_unit_test(a_deleted_file_is_read_through_its_mapping),
        cmocka_unit_test(files_that_are_no_elf_give_places),
        cmocka_unit_test(huge_names_are_cut),
        cmocka_unit_test(the_cache_stays_within_its_bound),
        cmocka_unit_test(survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
