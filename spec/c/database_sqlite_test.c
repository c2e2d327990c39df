/* SQLite, the real library, embedded and preloaded: executions are counted once each, by name, with their time. */
#include <sqlite3.h>

#include "call_host.h"

static const char *self_path;

static void nap(sqlite3_context *context, int argc, sqlite3_value **argv) {
    struct timespec duration = {0, 1000000L * sqlite3_value_int(argv[0])};
    (void)argc;
    nanosleep(&duration, NULL);
    sqlite3_result_int(context, 1);
}

static void must(int ok) {
    if (!ok) abort();
}

static void run(sqlite3 *db, const char *sql, const char *name, int failed) {
    int rc;
    TIMED(SI__INSTRUMENT_CALL_SQL, name, failed, rc = sqlite3_exec(db, sql, NULL, NULL, NULL));
    must((rc != SQLITE_OK) == failed);
}

static int nested_row(void *arg, int columns, char **values, char **names) {
    (void)columns, (void)values, (void)names;
    return sqlite3_exec(arg, "SELECT 'nested'", NULL, NULL, NULL); /* is part of the call it is made in */
}

static void steps(sqlite3 *db) {
    sqlite3_stmt *statement;
    for (int round = 0; round < 3; round++) {
        must(sqlite3_prepare_v2(db, "SELECT v FROM t WHERE v <> 7 -- note\n", -1, &statement, NULL) == SQLITE_OK);
        for (int again = 0; again < 2; again++) { /* to the end, twice: the second time behind a reset */
            while (sqlite3_step(statement) == SQLITE_ROW) {}
            sqlite3_reset(statement);
            did(SI__INSTRUMENT_CALL_SQL, "SELECT v FROM t WHERE v <> ?", 0, 0);
        }
        must(sqlite3_step(statement) == SQLITE_ROW); /* one that is left half way */
        did(SI__INSTRUMENT_CALL_SQL, "SELECT v FROM t WHERE v <> ?", 0, 0);
        sqlite3_finalize(statement);
    }
    must(sqlite3_prepare_v2(db, "SELECT 'never run'", -1, &statement, NULL) == SQLITE_OK);
    sqlite3_finalize(statement);
    sqlite3_finalize(NULL);
}

static void slow(sqlite3 *db) {
    sqlite3_stmt *statement = NULL;
    for (int i = 0; i < 20; i++) {
        TIMED(SI__INSTRUMENT_CALL_SQL, "SELECT nap(?) FROM t LIMIT ?", 0, {
            if (!statement) /* belongs to the first execution */
                must(sqlite3_prepare_v2(db, "SELECT nap(?) FROM t LIMIT 2", -1, &statement, NULL) == SQLITE_OK);
            sqlite3_bind_int(statement, 1, 5 + i % 3);
            while (sqlite3_step(statement) == SQLITE_ROW) {}
            sqlite3_reset(statement);
        });
    }
    sqlite3_finalize(statement);
}

static void workload(const char *argument) {
    sqlite3 *db;
    char **table;
    int rows, columns;
    (void)argument;
    must(sqlite3_open(":memory:", &db) == SQLITE_OK);
    sqlite3_create_function(db, "nap", 1, SQLITE_UTF8, NULL, nap, NULL, NULL);
    run(db, "CREATE TABLE t (v INT)", "CREATE TABLE t (v INT)", 0);
    for (int i = 0; i < 5; i++) {
        char sql[80];
        snprintf(sql, sizeof sql, "INSERT INTO t VALUES (%d), (%d)", i, i + 100);
        run(db, sql, "INSERT INTO t VALUES (?)", 0);
    }
    run(db, "SELECT * FROM missing", "SELECT * FROM missing", 1);
    run(db, "PRAGMA user_version = 77", "PRAGMA user_version", 0);
    must(sqlite3_exec(db, "SELECT 1", nested_row, db, NULL) == SQLITE_OK);
    did(SI__INSTRUMENT_CALL_SQL, "SELECT ?", 0, 0);
    must(sqlite3_get_table(db, "SELECT 2", &table, &rows, &columns, NULL) == SQLITE_OK);
    did(SI__INSTRUMENT_CALL_SQL, "SELECT ?", 0, 0);
    sqlite3_free_table(table);
    steps(db);
    slow(db);
    must(sqlite3_close(db) == SQLITE_OK);
}

static void embedded(void **state) {
    (void)state;
    play_embedded(workload, NULL);
    play_embedded(workload, NULL); /* opened again, hooked again */
}

static void preloaded(void **state) {
    (void)state;
    play_preloaded(self_path, "sqlite", "");
}

static void without_a_probe_nothing_is_hooked(void **state) {
    (void)state;
    sqlite3 *db;
    must(sqlite3_open(":memory:", &db) == SQLITE_OK);
    must(sqlite3_exec(db, "SELECT 1", NULL, NULL, NULL) == SQLITE_OK);
    errno = 77;
    must(sqlite3_exec(db, "SELECT 1", NULL, NULL, NULL) == SQLITE_OK);
    assert_int_equal(errno, 77);
    sqlite3_close(db);
    assert_null(si__probe_region());
}

int main(int argc, char **argv) {
    if (argc > 2) return play(workload, argv[2]);
    self_path = argv[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedded),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(preloaded),
#endif
        cmocka_unit_test(without_a_probe_nothing_is_hooked),
    };
    (void)preloaded;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
