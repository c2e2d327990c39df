/* Alerts as values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/report/alert.h"
#include "alloc_fail.h"

static void test_a_copy_owns_its_strings(void **state) {
    (void)state;
    char rule[] = "cpu_high";
    const si__alert from = {.fingerprint = "abc", .rule = rule, .state = SI__ALERT_FIRING, .value = 2.5, .fired_ms = 7};
    si__alert to;
    assert_int_equal(si__alert_copy(&to, &from), SI_OK);
    rule[0] = 'X';
    assert_string_equal(to.rule, "cpu_high");
    assert_string_equal(to.host, ""); /* NULL counts as "" */
    assert_string_equal(to.fingerprint, "abc");
    assert_true(to.value == 2.5 && to.fired_ms == 7 && to.state == SI__ALERT_FIRING);
    si__alert_clear(&to);
    assert_null(to.rule);
    si__alert_clear(&to); /* again, and NULL: harmless */
    si__alert_clear(NULL);
}

static void test_states_have_names(void **state) {
    (void)state;
    for (int s = SI__ALERT_INACTIVE; s <= SI__ALERT_RESOLVED; s++)
        assert_int_equal(si__alert_state_parse(si__alert_state_name((si__alert_state)s)), s);
    assert_string_equal(si__alert_state_name(SI__ALERT_FIRING), "firing");
    assert_int_equal(si__alert_state_parse("Firing"), -1);
    assert_int_equal(si__alert_state_parse(NULL), -1);
    assert_string_equal(si__alert_state_name((si__alert_state)99), "inactive");
}

static void test_any_allocation_may_fail(void **state) {
    (void)state;
    const si__alert from = {.rule = "r", .subject = "s", .detail = "d"};
    for (long nth = 1; nth <= 9; nth++) {
        si__alert to;
        alloc_fail_at(nth);
        int status = si__alert_copy(&to, &from);
        alloc_fail_at(0);
        assert_int_equal(status, SI_ENOMEM);
        assert_null(to.rule);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_copy_owns_its_strings),
        cmocka_unit_test(test_states_have_names),
        cmocka_unit_test(test_any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
