/* Options: defaults, environment variables, and mistakes named by their option. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <si/si.h>

#include "../../runtime/settings.h"

static void expect_refused(const si_options *options, const char *name) {
    si__settings *settings;
    char error[256];
    assert_int_equal(si__settings_new(&settings, options, error, sizeof error), SI_EINVAL);
    assert_null(settings);
    assert_non_null(strstr(error, name));
}

static void environment_fills_what_the_program_leaves(void **state) {
    (void)state;
    setenv("SI_APP_NAME", "from-environment", 1);
    setenv("SI_AUTO_PROFILING", "0", 1);
    si_options options;
    si_options_init(&options);
    assert_string_equal(options.app_name, "from-environment");
    assert_int_equal(options.auto_profiling, 0);
    unsetenv("SI_APP_NAME");
    unsetenv("SI_AUTO_PROFILING");
    si_options_init(&options);
    assert_null(options.app_name);
    assert_int_equal(options.auto_profiling, 1);
}

static void defaults_are_resolved(void **state) {
    (void)state;
    si_options options;
    si_options_init(&options);
    options.dashboard_url = "http://127.0.0.1:1//";
    si__settings *s;
    char error[256];
    assert_int_equal(si__settings_new(&s, &options, error, sizeof error), 0);
    assert_string_equal(s->app_name, "settings_test");
    assert_string_equal(s->app_environment, "default");
    assert_string_equal(s->dashboard_url, "http://127.0.0.1:1");
    assert_true(strlen(s->host_name) > 0);
    assert_null(s->rules_dir);
    si__settings_free(s);
}

static void mistakes_name_the_option(void **state) {
    (void)state;
    char longer[300];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    si_options good, options;
    si_options_init(&good);
    options = good, options.dashboard_url = "ftp://example.org";
    expect_refused(&options, "dashboard_url");
    options = good, options.app_name = "two\nlines";
    expect_refused(&options, "app_name");
    options = good, options.app_name = "";
    expect_refused(&options, "app_name");
    options = good, options.app_environment = longer;
    expect_refused(&options, "app_environment");
    options = good, options.agent_key = "key\r\nX-Evil: 1";
    expect_refused(&options, "agent_key");
    options = good, options.size = 3;
    expect_refused(&options, "size");
}

static int complaints;

static void count_complaints(void *data, si_log_level level, const char *message) {
    (void)data;
    (void)message;
    complaints += level == SI_LOG_ERROR;
}

static void a_wrong_option_does_not_open_and_says_so(void **state) {
    (void)state;
    si_options options;
    si_options_init(&options);
    options.dashboard_url = "nonsense";
    options.log = count_complaints;
    si_runtime *runtime = (si_runtime *)&options;
    assert_int_equal(si_runtime_open(&runtime, &options), SI_EINVAL);
    assert_null(runtime);
    assert_int_equal(complaints, 1);
    assert_int_equal(si_runtime_open(NULL, &options), SI_EINVAL);
    assert_int_equal(si_runtime_close(NULL, 10), 0);
}

static void errors_have_names_and_sentences(void **state) {
    (void)state;
    assert_string_equal(si_err_name(SI_EINVAL), "SI_EINVAL");
    assert_string_equal(si_strerror(SI_EAUTH), "the agent key was refused");
    assert_string_equal(si_err_name(-12345), "SI_UNKNOWN");
    assert_string_equal(si_err_name(0), "SI_OK");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(environment_fills_what_the_program_leaves),
        cmocka_unit_test(defaults_are_resolved),
        cmocka_unit_test(mistakes_name_the_option),
        cmocka_unit_test(a_wrong_option_does_not_open_and_says_so),
        cmocka_unit_test(errors_have_names_and_sentences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
