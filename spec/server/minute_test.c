/* The dashboard's own last days: a row a minute, of what came in it, for two days, also over a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "../../dashboard/server/minute.h"
#include "../../runtime/report/json.h"
#include "../c/temporary_dir.h"

#define MINUTE 60000
#define START (1700000000000ll / MINUTE * MINUTE)

typedef struct world {
    char dir[64];
    si__server server;
    si__reader *reader;
    si__minute minute;
} world;

static void open_world(world *w) {
    char error[300] = "";
    si__store_options options = {.data_dir = w->dir};
    if (si__store_open(&options, &w->server.store, error, sizeof error)) fail_msg("%s", error);
    w->reader = si__reader_new(w->server.store);
    assert_non_null(w->reader);
    w->minute = (si__minute){0};
}

static void close_world(world *w) {
    si__reader_free(w->reader);
    si__store_close(w->server.store);
}

static int64_t ask(world *w, const char *literal) {
    return si__db_int(&w->reader->db, si__db_prepare(&w->reader->db, literal), -1);
}

static double field(world *w, int64_t t, int at) {
    sqlite3_stmt *read = si__db_prepare(&w->reader->db, "SELECT body FROM self_minute WHERE t=?");
    assert_int_equal(si__db_step(&w->reader->db, si__db_bind(read, "i", t)), 1);
    si__json *row = NULL;
    assert_int_equal(si__json_parse(sqlite3_column_blob(read, 0), (size_t)sqlite3_column_bytes(read, 0), &row, NULL, 0),
                     0);
    sqlite3_reset(read);
    const si__json *item = row->first;
    for (int i = 0; i < at && item; i++) item = item->next;
    assert_non_null(item);
    double value = item->number;
    si__json_free(row);
    return value;
}

static void a_minute_has_what_came_in_it(void **state) {
    static world w;
    (void)state;
    temporary_dir_make(w.dir);
    open_world(&w);
    si__minute_tick(&w.minute, &w.server, w.reader, START + 100);
    atomic_store(&w.server.ingest.stored, 7);
    atomic_store(&w.server.ingest.bytes, 5000);
    atomic_store(&w.server.ingest.waits, 4);
    atomic_store(&w.server.ingest.waited_ns, 8000000);
    atomic_store(&w.server.ingest.wait_most_ns, 5000000);
    si__minute_tick(&w.minute, &w.server, w.reader, START + 59999);
    assert_int_equal(ask(&w, "SELECT count(*) FROM self_minute"), 0); /* it is not over */
    si__minute_tick(&w.minute, &w.server, w.reader, START + MINUTE);
    assert_int_equal(ask(&w, "SELECT count(*) FROM self_minute"), 1);
    assert_true(field(&w, START, 0) == (double)START);
    assert_true(field(&w, START, 1) == 7);
    assert_true(field(&w, START, 5) == 5000);
    assert_true(field(&w, START, 7) == 5);
    assert_true(field(&w, START, 8) == 2);
    assert_true(field(&w, START, 11) > 0);
    atomic_store(&w.server.ingest.stored, 10);
    si__minute_tick(&w.minute, &w.server, w.reader, START + 2 * MINUTE);
    assert_true(field(&w, START + MINUTE, 1) == 3); /* of this minute alone */
    assert_true(field(&w, START + MINUTE, 7) == 0);
    close_world(&w);

    open_world(&w); /* another process: its counts begin at nothing; what was stays */
    atomic_store(&w.server.ingest.stored, 0);
    si__minute_tick(&w.minute, &w.server, w.reader, START + 9 * MINUTE);
    atomic_store(&w.server.ingest.stored, 2);
    si__minute_tick(&w.minute, &w.server, w.reader, START + 10 * MINUTE);
    assert_true(field(&w, START + 9 * MINUTE, 1) == 2);
    assert_int_equal(ask(&w, "SELECT count(*) FROM self_minute"), 3);
    for (int i = 0; i < 2 * 24 * 60 + 300; i += 100) /* two days stay, however long it runs */
        si__minute_tick(&w.minute, &w.server, w.reader, START + (int64_t)(11 + i) * MINUTE);
    assert_true(ask(&w, "SELECT max(t)-min(t) FROM self_minute") <= 2 * 86400000ll);
    assert_true(ask(&w, "SELECT min(t) FROM self_minute") > START + 100 * MINUTE);
    close_world(&w);
    temporary_dir_remove(w.dir);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_minute_has_what_came_in_it)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
