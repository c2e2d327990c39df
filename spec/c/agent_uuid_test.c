/* An agent keeps its uuid, and makes a new one where the old one cannot be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <si/si.h>

#include "../../runtime/report/spool.h"
#include "temporary_dir.h"

static void test_an_agent_keeps_its_uuid(void **state) {
    uint8_t a[16], b[16];
    char dir[64], path[100];
    (void)state;
    temporary_dir_make(dir);
    assert_int_equal(si__agent_uuid(dir, a), SI_OK);
    assert_int_equal(si__agent_uuid(dir, b), SI_OK);
    assert_memory_equal(a, b, 16);
    assert_int_equal(a[6] >> 4, 4);
    snprintf(path, sizeof path, "%s/agent-id", dir);
    FILE *file = fopen(path, "w");
    assert_true(file && fputs("garbage\n", file) >= 0 && fclose(file) == 0);
    assert_int_equal(si__agent_uuid(dir, a), SI_OK);
    assert_int_equal(si__agent_uuid(dir, b), SI_OK);
    assert_memory_equal(a, b, 16);
    assert_int_equal(si__agent_uuid(NULL, a), SI_OK);
    assert_memory_not_equal(a, b, 16);
    assert_int_equal(si__agent_uuid("/nonexistent/x", a), SI_EIO);
    temporary_dir_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_an_agent_keeps_its_uuid)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
