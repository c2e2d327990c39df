/* Modules and stack bounds out of maps files: our own, and hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <unistd.h>

#include "../../collectors/native/module.h"
#include "si/si.h"

static const char maps[] =
    "00400000-00452000 r-xp 00001000 08:02 173521      /usr/bin/dbus-daemon\n"
    "00651000-00652000 r--p 00051000 08:02 173521      /usr/bin/dbus-daemon\n"
    "00e03000-00e24000 rw-p 00000000 00:00 0           [heap]\n"
    "35b1a21000-35b1a22000 r-xp 00020000 08:02 135522  /usr/lib/a name with (deleted) in it.so (deleted)\n"
    "35b1a22000-35b1a23000 rwxp 00000000 00:00 0 \n"
    "35b1a23000-35b1a24000 r-xp 00000000 fd:1f 99      /tmp/two\\012lines\\x.so\n"
    "7ffd1000-7ffd3000 rw-p 00000000 00:00 0           [stack]\n"
    "7ffe0000-7ffe2000 r-xp 00000000 00:00 0           [vdso]\n"
    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]";

static void parses_every_executable_mapping(void **state) {
    (void)state;
    si__module_list list;
    assert_int_equal(si__module_list_parse(maps, sizeof(maps) - 1, &list), 0);
    assert_int_equal(list.count, 6);
    assert_string_equal(list.items[0].path, "/usr/bin/dbus-daemon");
    assert_int_equal(list.items[0].start, 0x400000);
    assert_int_equal(list.items[0].file_offset, 0x1000);
    assert_int_equal(list.items[0].inode, 173521);
    assert_int_equal(list.items[0].deleted, 0);
    for (size_t i = 1; i < list.count; i++) assert_true(list.items[i - 1].start < list.items[i].start);
    si__module_list_free(&list);
    assert_int_equal(list.count, 0);
}

static void understands_names(void **state) {
    (void)state;
    si__module_list list;
    assert_int_equal(si__module_list_parse(maps, sizeof(maps) - 1, &list), 0);
    const si__module *gone = si__module_find(&list, 0x35b1a21fff);
    assert_non_null(gone);
    assert_string_equal(gone->path, "/usr/lib/a name with (deleted) in it.so");
    assert_int_equal(gone->deleted, 1);
    const si__module *newline = si__module_find(&list, 0x35b1a23000);
    assert_non_null(newline);
    assert_string_equal(newline->path, "/tmp/two\nlines\\x.so");
    assert_int_equal(newline->deleted, 0);
    assert_string_equal(si__module_find(&list, 0x35b1a22000)->path, "");
    assert_string_equal(si__module_find(&list, 0x7ffe0001)->path, "[vdso]");
    si__module_list_free(&list);
}

static void finds_by_address(void **state) {
    (void)state;
    si__module_list list;
    assert_int_equal(si__module_list_parse(maps, sizeof(maps) - 1, &list), 0);
    assert_null(si__module_find(&list, 0x3fffff));
    assert_ptr_equal(si__module_find(&list, 0x400000), &list.items[0]);
    assert_ptr_equal(si__module_find(&list, 0x451fff), &list.items[0]);
    assert_null(si__module_find(&list, 0x452000));
    assert_null(si__module_find(&list, UINT64_MAX));
    si__module_list_free(&list);
    assert_null(si__module_find(&list, 0x400000));
}

static void refuses_what_is_no_maps_file(void **state) {
    (void)state;
    static const char *const bad[] = {
        "nonsense\n",
        "00400000\n",
        "00452000-00400000 r-xp 0 08:02 1 /end/before/start\n",
        "00400000-00452000 r-xp\n",
        "00400000-00452000 r-xp 0 08:02\n",
        "10000000000000000-20000000000000000 r-xp 0 08:02 1 /too/wide\n",
        "00400000-00452000 r-xp 0 08:02 99999999999999999999 /inode\n",
        "-00452000 r-xp 0 08:02 1 /x\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        si__module_list list;
        assert_int_equal(si__module_list_parse(bad[i], strlen(bad[i]), &list), SI_EFORMAT);
        assert_null(list.items);
    }
    si__module_list list;
    assert_int_equal(si__module_list_parse("", 0, &list), 0);
    assert_int_equal(list.count, 0);
    si__module_list_free(&list);
}

/* Every prefix of the text, in memory that ends where it ends: a sanitizer sees a byte read too many. */
static void survives_truncation(void **state) {
    (void)state;
    for (size_t n = 0; n < sizeof(maps); n++) {
        char *copy = malloc(n ? n : 1);
        memcpy(copy, maps, n);
        si__module_list list;
        int rc = si__module_list_parse(copy, n, &list);
        assert_true(rc == 0 || rc == SI_EFORMAT);
        uint64_t lo, hi;
        (void)si__stack_bounds_parse(copy, n, 0x7ffd2000, &lo, &hi);
        si__module_list_free(&list);
        free(copy);
    }
}

static void finds_stack_bounds(void **state) {
    (void)state;
    uint64_t lo = 0, hi = 0;
    assert_int_equal(si__stack_bounds_parse(maps, sizeof(maps) - 1, 0x7ffd2ff8, &lo, &hi), 0);
    assert_int_equal(lo, 0x7ffd1000);
    assert_int_equal(hi, 0x7ffd3000);
    assert_int_equal(si__stack_bounds_parse(maps, sizeof(maps) - 1, 0x7ffd3000, &lo, &hi), SI_ENOTFOUND);
    assert_int_equal(si__stack_bounds_parse(maps, sizeof(maps) - 1, 0x400100, &lo, &hi),
                     SI_ENOTFOUND); /* not writable */
}

static void reads_our_own_process(void **state) {
    (void)state;
    si__module_list list;
    assert_int_equal(si__module_list_read(getpid(), &list), 0);
    Dl_info here, libc;
    assert_true(dladdr((void *)(uintptr_t)&reads_our_own_process, &here) != 0);
    assert_true(dladdr(dlsym(RTLD_DEFAULT, "qsort"), &libc) != 0);
    char *libc_file = realpath(libc.dli_fname, NULL); /* maps shows what links lead to */
    assert_non_null(libc_file);
    const si__module *m = si__module_find(&list, (uint64_t)(uintptr_t)&reads_our_own_process);
    assert_non_null(m);
    assert_true(strstr(m->path, "module_test") != NULL);
    m = si__module_find(&list, (uint64_t)(uintptr_t)libc.dli_saddr);
    assert_non_null(m);
    assert_string_equal(m->path, libc_file);
    free(libc_file);
    si__module_list_free(&list);
    assert_int_equal(si__module_list_read(-1, &list), SI_ENOTFOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_every_executable_mapping),
        cmocka_unit_test(understands_names),
        cmocka_unit_test(finds_by_address),
        cmocka_unit_test(refuses_what_is_no_maps_file),
        cmocka_unit_test(survives_truncation),
        cmocka_unit_test(finds_stack_bounds),
        cmocka_unit_test(reads_our_own_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
