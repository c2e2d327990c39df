/* Folded output: the lines, their counts and their sum, names that would break the format, files made whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../runtime/profile/folded.h"
#include "allocation.h"
#include "si/si.h"

static uint32_t child(si__calltree *tree, uint32_t parent, const char *function, uint32_t line) {
    return si__calltree_child(tree, parent, si__calltree_frame(tree, function, "a.c", line, "app"));
}

static char *folded(const si__calltree *tree, int64_t divisor) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    assert_int_equal(si__folded_write(tree, divisor, out), 0);
    fclose(out);
    return text;
}

static void one_line_a_stack(void **state) {
    (void)state;
    si__calltree *tree = si__calltree_new();
    uint32_t main_ = child(tree, 0, "main", 1);
    si__calltree_add(tree, child(tree, main_, "work(int, char const*)", 10), 5000000, 5);
    si__calltree_add(tree, child(tree, main_, "work(int, char const*)", 11), 2000000, 2); /* another line of it */
    si__calltree_add(tree, child(tree, child(tree, main_, "evil;name\n\033[31m", 3), "leaf", 4), 1000000, 1);
    si__calltree_add(tree, main_, 3000000, 3);
    char *text = folded(tree, 1000);
    assert_string_equal(text, "main 3000\n"
                              "main;work(int, char const*) 7000\n"
                              "main;evil,name??[31m;leaf 1000\n");
    free(text);
    si__calltree_free(tree);
}

static void counts_add_up_to_the_rounded_total(void **state) {
    (void)state;
    si__calltree *tree = si__calltree_new();
    uint64_t seed = 1;
    char name[32];
    for (uint32_t i = 0; i < 1000; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        snprintf(name, sizeof name, "f%u", i);
        si__calltree_add(tree, child(tree, 0, name, i), (int64_t)(seed >> 53), 1); /* 0 to 2047 ns */
    }
    char *text = folded(tree, 1000), *line = text;
    int64_t sum = 0, total = si__calltree_total_value(tree);
    for (char *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        int64_t count = atoll(strrchr(line, ' ') + 1);
        assert_true(count > 0);
        sum += count;
    }
    assert_int_equal(sum, (total + 500) / 1000);
    free(text);
    si__calltree_free(tree);
}

static void odd_trees(void **state) {
    (void)state;
    si__calltree *tree = si__calltree_new();
    char *text = folded(tree, 1);
    assert_string_equal(text, "");
    free(text);
    si__calltree_add(tree, 0, 3, 1);
    text = folded(tree, 1);
    assert_string_equal(text, "[unknown] 3\n");
    free(text);
    assert_int_equal(si__folded_write(tree, 0, stdout), SI_EINVAL);
    uint32_t node = 0; /* values that shrink: the difference of two profiles */
    node = child(tree, node, "f", 1);
    si__calltree_add(tree, node, -2500, 1);
    text = folded(tree, 1000);
    assert_string_equal(text, "f -2\n");
    free(text);
    si__calltree_free(tree);
}

static void saves_whole_files(void **state) {
    (void)state;
    char dir[] = "/tmp/si-folded-XXXXXX", path[64], text[64] = "";
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/cpu.folded", dir);
    si__calltree *tree = si__calltree_new();
    si__calltree_add(tree, child(tree, 0, "main", 1), 7, 1);
    assert_int_equal(si__folded_save(tree, 1, path), 0);
    FILE *in = fopen(path, "r");
    assert_non_null(fgets(text, sizeof text, in));
    fclose(in);
    assert_string_equal(text, "main 7\n");
    assert_int_equal(si__folded_save(tree, 0, path), SI_EINVAL); /* the old file stays */
    assert_int_equal(access(path, R_OK), 0);
    assert_int_equal(si__folded_save(tree, 1, "/nonexistent/cpu.folded"), SI_EIO);
    FILE *full = fopen("/dev/full", "w");
    if (full) {
        assert_int_equal(si__folded_write(tree, 1, full), SI_EIO);
        fclose(full);
    }
    unlink(path);
    assert_int_equal(rmdir(dir), 0); /* no temporary file was left */
    si__calltree_free(tree);
}

static si__calltree *given;
static int write_given(void) {
    static char buffer[8192];
    FILE *out = fmemopen(buffer, sizeof buffer, "w");
    int result = out ? si__folded_write(given, 1, out) : SI_ENOMEM;
    if (out) fclose(out);
    assert_true(result == 0 || result == SI_ENOMEM);
    return result == 0;
}

static void survives_every_failing_allocation(void **state) {
    (void)state;
    given = si__calltree_new();
    char name[32];
    for (uint32_t i = 0; i < 60; i++) {
        snprintf(name, sizeof name, "f%u", i);
        si__calltree_add(given, child(given, i / 2, name, i), 1, 1);
    }
    assert_true(fail_every_allocation(write_given) > 5);
    si__calltree_free(given);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line_a_stack),
        cmocka_unit_test(counts_add_up_to_the_rounded_total),
        cmocka_unit_test(odd_trees),
        cmocka_unit_test(saves_whole_files),
        cmocka_unit_test(survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
