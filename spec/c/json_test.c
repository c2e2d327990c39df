/* JSON in and out: the grammar and nothing else, within bounds, whatever the locale; output that is safe in a page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/report/json.h"
#include "alloc_fail.h"

static int parse(const char *text, size_t length, si__json **root, char error[100]) {
    char *copy = malloc(length ? length : 1); /* of just that size, so that a sanitizer sees a read past the end */
    if (length) memcpy(copy, text, length);
    int status = si__json_parse(copy, length, root, error, 100);
    free(copy); /* nothing may point into it */
    assert_true(status ? !*root && *error : *root != NULL);
    return status;
}

static si__json *good(const char *text) {
    si__json *root;
    char error[100];
    if (parse(text, strlen(text), &root, error)) fail_msg("%s: %s", text, error);
    return root;
}

static void test_values_are_read(void **state) {
    (void)state;
    si__json *root = good(" {\"a\": [1, -2.5e1, true, false, null, \"x\\n\\u00e9\\ud83d\\ude00\\/\"], \"b\": {}, \"\": "
                          "-0, \"big\": 9007199254740993, \"a\\u0062\": \"last\", \"ab\": \"wins\"}\n");
    const si__json *a = si__json_get(root, "a"), *item = a->first;
    assert_int_equal(a->count, 6);
    assert_int_equal(item->integer, 1);
    assert_true((item = item->next)->number == -25 && !item->is_integer);
    assert_int_equal((item = item->next)->boolean, 1);
    assert_int_equal((item = item->next)->boolean, 0);
    assert_int_equal((item = item->next)->type, SI__JSON_NULL);
    assert_string_equal((item = item->next)->text, "x\n\xc3\xa9\xf0\x9f\x98\x80/");
    assert_int_equal(si__json_get(root, "b")->count, 0);
    assert_int_equal(si__json_get_integer(root, "big", 0), 9007199254740993);
    assert_string_equal(si__json_get_string(root, "ab", ""), "wins");
    assert_null(si__json_get(root, "nope"));
    assert_null(si__json_get(a, "x"));
    assert_null(si__json_get(NULL, "x"));
    assert_int_equal(si__json_get_integer(root, "b", -7), -7);
    assert_true(si__json_get_number(root, "", 1) == 0);
    assert_int_equal(si__json_get_bool(root, "a", 9), 9);
    si__json_free(root);
    si__json_free(NULL);
    static const char *const tops[] = {"1", "\"x\"", "null", "[]", " true "};
    for (size_t i = 0; i < sizeof tops / sizeof *tops; i++) si__json_free(good(tops[i]));
}

static void test_what_is_not_json_is_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {"",
                                        " ",
                                        "{",
                                        "[",
                                        "[1",
                                        "[1,",
                                        "[1,]",
                                        "[,1]",
                                        "{\"a\"}",
                                        "{\"a\":}",
                                        "{\"a\":1,}",
                                        "{a:1}",
                                        "{1:1}",
                                        "tru",
                                        "truex",
                                        "nul",
                                        "01",
                                        "-",
                                        "+1",
                                        ".5",
                                        "1.",
                                        "1e",
                                        "1e+",
                                        "0x1",
                                        "NaN",
                                        "Infinity",
                                        "1e999",
                                        "-1e999",
                                        "\"",
                                        "\"\\\"",
                                        "\"\\x\"",
                                        "\"\\u12\"",
                                        "\"\\u123g\"",
                                        "\"\\u0000\"",
                                        "\"a\nb\"",
                                        "\"\t\"",
                                        "'a'",
                                        "1 2",
                                        "[1]]",
                                        "{}{}",
                                        "/**/1",
                                        "\xef\xbb\xbf{}",
                                        "[1 2]",
                                        "{\"a\" 1}",
                                        "\"\\",
                                        "\"\\u",
                                        "\"\\ud800\\u\""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        si__json *root;
        char error[100];
        if (parse(wrong[i], strlen(wrong[i]), &root, error) != SI_EFORMAT) fail_msg("taken for JSON: %s", wrong[i]);
    }
    si__json *root;
    char error[100];
    assert_int_equal(parse("\"a\0b\"", 5, &root, error), SI_EFORMAT);
    assert_int_equal(parse("{\n\n\"a\": x}", 10, &root, error), SI_EFORMAT);
    assert_string_equal(error, "line 3: expected a value");
}

static void test_bad_utf8_is_repaired(void **state) {
    (void)state;
    si__json *root = good("[\"\xff\", \"\xc3\", \"a\xed\xa0\x80z\", \"\\ud800\", \"\\udc00x\", \"\\ud800\\u0041\", "
                          "\"\xf4\x90\x80\x80\", \"\xc0\x80\"]");
    static const char *const expected[] = {"\xef\xbf\xbd",
                                           "\xef\xbf\xbd",
                                           "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz",
                                           "\xef\xbf\xbd",
                                           "\xef\xbf\xbdx",
                                           ("\xef\xbf\xbd"
                                            "A"),
                                           "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd",
                                           "\xef\xbf\xbd\xef\xbf\xbd"};
    int i = 0;
    for (const si__json *item = root->first; item; item = item->next) assert_string_equal(item->text, expected[i++]);
    si__json_free(root);
}

static void test_size_depth_and_number_of_values_are_bounded(void **state) {
    (void)state;
    si__json *root;
    char error[100], *big = malloc(2 << 20);
    memset(big, '[', 2 << 20);
    assert_int_equal(parse(big, 100000, &root, error), SI_ELIMIT);
    assert_int_equal(parse(big, (1 << 20) + 1, &root, error), SI_ELIMIT);
    for (int i = 0; i < 1 << 20; i++) big[i] = i % 2 ? ',' : '1';
    big[0] = '[';
    big[1] = '1';
    assert_int_equal(parse(big, 1 << 20, &root, error), SI_ELIMIT);
    assert_non_null(strstr(error, "too many values"));
    memset(big, '1', 100);
    assert_int_equal(parse(big, 100, &root, error), SI_ELIMIT);
    memset(big, '[', 32);
    memset(big + 32, ']', 32);
    assert_int_equal(parse(big, 64, &root, error), SI_OK); /* 32 levels are fine */
    si__json_free(root);
    free(big);
}

static void assert_written(si__json_writer *w, const char *expected) {
    char *text;
    size_t length;
    assert_int_equal(si__json_take(w, &text, &length), SI_OK);
    assert_string_equal(text, expected);
    assert_int_equal(length, strlen(expected));
    free(text);
}

static void test_what_is_written_is_safe_and_reads_back(void **state) {
    (void)state;
    si__json_writer w = {0};
    si__json_object_begin(&w, NULL);
    si__json_put_string(&w, "a<b", "</script>\"\\\x01\n\x7f\xff\xe2\x80\xa8\xc3\xa9");
    si__json_array_begin(&w, "list");
    si__json_put_int(&w, NULL, INT64_MIN);
    si__json_put_uint(&w, NULL, UINT64_MAX);
    si__json_put_number(&w, NULL, 0.1);
    si__json_put_number(&w, NULL, 1e21);
    si__json_put_number(&w, NULL, -3);
    si__json_put_number(&w, NULL, NAN);
    si__json_put_number(&w, NULL, -INFINITY);
    si__json_put_bool(&w, NULL, 7);
    si__json_put_string(&w, NULL, NULL);
    si__json_object_begin(&w, NULL);
    si__json_object_end(&w);
    si__json_array_end(&w);
    si__json_put_raw(&w, "raw", "[1]", 3);
    si__json_object_end(&w);
    assert_written(&w, "{\"a\\u003cb\":\"\\u003c/"
                       "script>\\\"\\\\\\u0001\\n\\u007f\xef\xbf\xbd\\u2028\xc3\xa9\",\"list\":[-9223372036854775808,"
                       "18446744073709551615,0.1,1e+21,-3,null,null,true,null,{}],\"raw\":[1]}");
}

static void test_numbers_read_back_equal_in_any_locale(void **state) {
    (void)state;
    static const char *const locales[] = {"C", "de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8"};
    static const double values[] = {0.1,
                                    1.0 / 3,
                                    DBL_MAX,
                                    DBL_MIN,
                                    4.9406564584124654e-324,
                                    123456789.125,
                                    1e15,
                                    9007199254740991.0,
                                    9007199254740992.0,
                                    -0.0,
                                    2.5e-8};
    for (size_t l = 0; l < sizeof locales / sizeof *locales; l++) {
        setlocale(LC_ALL, locales[l]); /* those that are not installed change nothing */
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            char text[40];
            size_t length = si__json_number(values[i], text);
            si__json *root = good(text);
            assert_int_equal(length, strlen(text));
            assert_true(root->number == values[i]);
            si__json_free(root);
        }
    }
    setlocale(LC_ALL, "C");
}

static void test_any_allocation_may_fail(void **state) {
    (void)state;
    char *text = malloc(20000);
    size_t n = 0;
    n += (size_t)sprintf(text, "[\"x\"");
    for (int i = 0; i < 900; i++) n += (size_t)sprintf(text + n, ",{\"k%d\":%d}", i, i);
    n += (size_t)sprintf(text + n, "]");
    for (long nth = 1;; nth++) {
        si__json *root;
        alloc_fail_at(nth);
        int status = si__json_parse(text, n, &root, NULL, 0), hit = alloc_fail_hit;
        alloc_fail_at(0);
        assert_int_equal(status, hit ? SI_ENOMEM : SI_OK);
        si__json_free(root);
        if (!hit) break;
    }
    for (long nth = 1;; nth++) {
        si__json_writer w = {0};
        char *out;
        alloc_fail_at(nth);
        for (int i = 0; i < 100; i++) si__json_put_string(&w, "key", "a longer string");
        int status = si__json_take(&w, &out, NULL), hit = alloc_fail_hit;
        alloc_fail_at(0);
        assert_int_equal(status, hit ? SI_ENOMEM : SI_OK);
        free(out);
        if (!hit) break;
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_are_read),
        cmocka_unit_test(test_what_is_not_json_is_refused),
        cmocka_unit_test(test_bad_utf8_is_repaired),
        cmocka_unit_test(test_size_depth_and_number_of_values_are_bounded),
        cmocka_unit_test(test_what_is_written_is_safe_and_reads_back),
        cmocka_unit_test(test_numbers_read_back_equal_in_any_locale),
        cmocka_unit_test(test_any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
