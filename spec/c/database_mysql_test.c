/* MariaDB's client library against a real server, embedded and preloaded. */
#include <mysql.h>

#include "call_host.h"
#include "database_server.h"

static const char *self_path;
static database_server server;

static void must(int ok) {
    if (!ok) abort();
}

static void sql(const char *name, int failed) {
    did(SI__INSTRUMENT_CALL_SQL, name, failed, 0);
}

static void run(MYSQL *c, const char *text, const char *name, int failed) {
    int rc = mysql_query(c, text);
    if ((rc != 0) != failed) fprintf(stderr, "%s: %s\n", text, mysql_error(c));
    must((rc != 0) == failed);
    sql(name, failed);
}

static void plain(MYSQL *c) {
    char text[100];
    for (int i = 0; i < 20; i++) {
        int length = snprintf(text, sizeof text, "SELECT SLEEP(0.0%d) # hunter2", 10 + i % 3);
        MYSQL_RES *result;
        TIMED(SI__INSTRUMENT_CALL_SQL, "SELECT SLEEP(?)", 0, {
            must(mysql_real_query(c, text, (unsigned long)length) == 0);
            result = mysql_store_result(c);
        });
        must(result && mysql_fetch_row(result) && !mysql_fetch_row(result));
        mysql_free_result(result);
    }
    run(c, "CREATE DATABASE IF NOT EXISTS d", "CREATE DATABASE IF NOT EXISTS d", 0);
    must(mysql_select_db(c, "d") == 0);
    run(c, "DROP TABLE IF EXISTS t", "DROP TABLE IF EXISTS t", 0);
    run(c, "CREATE TABLE t (id int, name text)", "CREATE TABLE t (id int, name text)", 0);
    for (int i = 0; i < 4; i++)
        run(c, i % 2 ? "INSERT INTO t VALUES (1, \"it's\"), (2, 'x')" : "INSERT INTO t VALUES (3, 'hunter2\\'')",
            "INSERT INTO t VALUES (?)", 0);
    run(c, "SELECT * FROM missing", "SELECT * FROM missing", 1);
    run(c, "SET @secret = 'hunter2'", "SET", 0);
}

/* Unbuffered: the rows come one by one. */
static void unbuffered(MYSQL *c) {
    MYSQL_RES *result;
    for (int i = 0; i < 3; i++) {
        must(mysql_query(c, "SELECT id FROM t WHERE id < 10") == 0);
        must((result = mysql_use_result(c)) != NULL);
        while (mysql_fetch_row(result)) {}
        mysql_free_result(result);
        sql("SELECT id FROM t WHERE id < ?", 0);
    }
    must(mysql_query(c, "SELECT id FROM t WHERE id < 9") == 0);
    must((result = mysql_use_result(c)) != NULL && mysql_fetch_row(result));
    mysql_free_result(result); /* half way */
    sql("SELECT id FROM t WHERE id < ?", 0);
}

static void prepared(MYSQL *c) {
    static const char text[] = "SELECT id FROM t WHERE id > 0 AND name <> 'hunter2'";
    MYSQL_STMT *statement = mysql_stmt_init(c);
    must(mysql_stmt_prepare(statement, text, sizeof text - 1) == 0);
    sql("PREPARE SELECT id FROM t WHERE id > ? AND name <> ?", 0);
    for (int i = 0; i < 3; i++) {
        must(mysql_stmt_execute(statement) == 0);
        if (i) must(mysql_stmt_store_result(statement) == 0);
        while (mysql_stmt_fetch(statement) == 0) {}
        mysql_stmt_free_result(statement);
        sql("SELECT id FROM t WHERE id > ? AND name <> ?", 0);
    }
    must(mysql_stmt_close(statement) == 0);
}

static void workload(const char *argument) {
    MYSQL *c = mysql_init(NULL);
    must(mysql_real_connect(c, "127.0.0.1", "si", "hunter2", NULL, (unsigned)atoi(argument), NULL, 0) == c);
    sql("CONNECT", 0);
    plain(c);
    unbuffered(c);
    prepared(c);
    mysql_close(c);
    c = mysql_init(NULL);
    must(!mysql_real_connect(c, "127.0.0.1", "si", "", NULL, 1, NULL, 0));
    sql("CONNECT", 1);
    mysql_close(c);
    mysql_library_end();
}

static char port[16];

static void embedded(void **state) {
    (void)state;
    play_embedded(workload, port);
}

static void preloaded(void **state) {
    (void)state;
    play_preloaded(self_path, "mysql", port);
}

static int set_up(void **state) {
    (void)state;
    mariadb_server_start(&server);
    snprintf(port, sizeof port, "%d", server.port);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    database_server_stop(&server);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 3) return play(workload, argv[3]);
    self_path = argv[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedded),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(preloaded),
#endif
    };
    (void)preloaded;
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
