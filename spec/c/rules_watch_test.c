/* The watch over rules: every way to save a file is noticed once, and nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "../../runtime/rules_watch.h"
#include "loop_until.h"
#include "temporary_dir.h"

static char dir[64], rules[80], channels[96];
static int changes;

static void on_changed(void *arg) {
    assert_ptr_equal(arg, &changes);
    changes++;
}

static void put(const char *folder, const char *name, const char *text) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* Waits for the next change; then for two more looks, which must find nothing new. */
static void expect_one(uv_loop_t *loop) {
    LOOP_UNTIL(loop, changes > 0);
    uint64_t until = uv_hrtime() + 1200000000;
    LOOP_UNTIL(loop, uv_hrtime() > until);
    assert_int_equal(changes, 1);
    changes = 0;
}

static void every_way_to_save_is_noticed_once(void **state) {
    (void)state;
    uv_loop_t loop;
    char from[160], to[160];
    temporary_dir_make(dir);
    snprintf(rules, sizeof rules, "%s/rules", dir);
    snprintf(channels, sizeof channels, "%s/channels.json", dir);
    assert_int_equal(mkdir(rules, 0700), 0);
    put(rules, "a.lua", "-- 1");
    uv_loop_init(&loop);
    si__rules_watch *w = si__rules_watch_new(&loop, rules, channels, on_changed, &changes);
    assert_non_null(w);

    put(rules, "a.lua", "-- 22"); /* written over */
    expect_one(&loop);
    put(rules, "b.lua", "-- new");
    expect_one(&loop);
    put(dir, "saved", "-- 33"); /* as editors do: a new file takes the name */
    snprintf(from, sizeof from, "%s/saved", dir);
    snprintf(to, sizeof to, "%s/a.lua", rules);
    assert_int_equal(rename(from, to), 0);
    expect_one(&loop);
    assert_int_equal(unlink(to), 0);
    expect_one(&loop);
    put(dir, "channels.json", "{}"); /* was missing */
    expect_one(&loop);

    put(rules, ".b.lua.swp", "x"); /* no rules */
    put(rules, ".hidden.lua", "x");
    put(rules, "notes.txt", "x");
    uint64_t until = uv_hrtime() + 1200000000;
    LOOP_UNTIL(&loop, uv_hrtime() > until);
    assert_int_equal(changes, 0);

    temporary_dir_remove(rules); /* the whole directory goes and comes back */
    expect_one(&loop);
    assert_int_equal(mkdir(rules, 0700), 0);
    put(rules, "a.lua", "-- 4");
    expect_one(&loop);

    si__rules_watch_close(w);
    si__rules_watch_close(NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    temporary_dir_remove(dir);
}

static void nothing_to_watch_is_fine(void **state) {
    (void)state;
    uv_loop_t loop;
    uv_loop_init(&loop);
    si__rules_watch *w = si__rules_watch_new(&loop, NULL, NULL, on_changed, &changes);
    assert_non_null(w);
    uint64_t until = uv_hrtime() + 600000000;
    LOOP_UNTIL(&loop, uv_hrtime() > until);
    assert_int_equal(changes, 0);
    si__rules_watch_close(w);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_to_save_is_noticed_once),
        cmocka_unit_test(nothing_to_watch_is_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
