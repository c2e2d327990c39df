/* libpq against a real PostgreSQL server, embedded and preloaded. */
#include <libpq-fe.h>

#include "call_host.h"
#include "database_server.h"

static const char *self_path;
static database_server server;

static void must(int ok) {
    if (!ok) abort();
}

static void take(PGresult *result, ExecStatusType status) {
    if (PQresultStatus(result) != status) fprintf(stderr, "%s\n", PQresultErrorMessage(result));
    must(PQresultStatus(result) == status);
    PQclear(result);
}

static void sql(const char *name, int failed) {
    did(SI__INSTRUMENT_CALL_SQL, name, failed, 0);
}

static void waiting(PGconn *c) {
    char text[100];
    for (int i = 0; i < 20; i++) {
        snprintf(text, sizeof text, "SELECT pg_sleep(0.0%d)", 10 + i % 3);
        PGresult *result;
        TIMED(SI__INSTRUMENT_CALL_SQL, "SELECT pg_sleep(?)", 0, result = PQexec(c, text));
        take(result, PGRES_TUPLES_OK);
    }
    take(PQexec(c, "CREATE TABLE t (id int, name text)"), PGRES_COMMAND_OK);
    sql("CREATE TABLE t (id int, name text)", 0);
    const char *values[] = {"7", "hunter2"};
    for (int i = 0; i < 3; i++) {
        take(PQexecParams(c, "INSERT INTO t VALUES ($1, $2)", 2, NULL, values, NULL, NULL, 0), PGRES_COMMAND_OK);
        sql("INSERT INTO t VALUES (?)", 0);
    }
    take(PQprepare(c, "by id", "SELECT name FROM t WHERE id = $1", 1, NULL), PGRES_COMMAND_OK);
    sql("PREPARE SELECT name FROM t WHERE id = ?", 0);
    for (int i = 0; i < 4; i++) {
        take(PQexecPrepared(c, "by id", 1, values, NULL, NULL, 0), PGRES_TUPLES_OK);
        sql("SELECT name FROM t WHERE id = ?", 0);
    }
    take(PQexec(c, "SELECT * FROM missing WHERE x = 'hunter2'"), PGRES_FATAL_ERROR);
    sql("SELECT * FROM missing WHERE x = ?", 1);
    take(PQexec(c, "CREATE ROLE bob PASSWORD 'hunter2'"), PGRES_COMMAND_OK);
    sql("CREATE ROLE", 0);
    take(PQexec(c, "DROP ROLE bob"), PGRES_COMMAND_OK);
    sql("DROP ROLE", 0);
}

/* Results as an event loop takes them: until NULL. */
static void results(PGconn *c, int expected) {
    int got = 0;
    for (PGresult *result; (result = PQgetResult(c)) != NULL; got++) PQclear(result);
    must(got == expected);
}

static void sent(PGconn *c) {
    for (int i = 0; i < 20; i++) {
        TIMED(SI__INSTRUMENT_CALL_SQL, "SELECT pg_sleep(?), ? AS sent", 0, {
            must(PQsendQuery(c, "SELECT pg_sleep(0.008), 'x' AS sent"));
            results(c, 1);
        });
    }
    must(PQsendQueryPrepared(c, "by id", 1, (const char *const[]){"7"}, NULL, NULL, 0));
    must(PQsetSingleRowMode(c));
    results(c, 4); /* three rows, and the end */
    sql("SELECT name FROM t WHERE id = ?", 0);
    must(PQsendQuery(c, "SELECT 1; SELECT 2"));
    results(c, 2);
    sql("SELECT ?; SELECT ?", 0);
    must(PQenterPipelineMode(c));
    for (int i = 0; i < 3; i++) must(PQsendQueryParams(c, "SELECT 5 AS piped", 0, NULL, NULL, NULL, NULL, 0));
    must(PQpipelineSync(c));
    for (int i = 0; i < 3; i++) {
        results(c, 1);
        sql("SELECT ? AS piped", 0);
    }
    take(PQgetResult(c), PGRES_PIPELINE_SYNC);
    must(PQexitPipelineMode(c));
}

static void copied(PGconn *c) {
    char *row;
    take(PQexec(c, "COPY t FROM STDIN"), PGRES_COPY_IN);
    must(PQputCopyData(c, "1\thunter2\n", 10) == 1 && PQputCopyEnd(c, NULL) == 1);
    results(c, 1);
    sql("COPY t FROM STDIN", 0);
    take(PQexec(c, "COPY t TO STDOUT"), PGRES_COPY_OUT);
    while (PQgetCopyData(c, &row, 0) > 0) PQfreemem(row);
    results(c, 1);
    sql("COPY t TO STDOUT", 0);
}

static void workload(const char *argument) {
    char info[100];
    snprintf(info, sizeof info, "host=127.0.0.1 port=%s user=si dbname=postgres password=hunter2", argument);
    PGconn *c = PQconnectdb(info);
    sql("CONNECT", 0);
    must(PQstatus(c) == CONNECTION_OK);
    take(PQexec(c, "DROP TABLE IF EXISTS t"), PGRES_COMMAND_OK);
    sql("DROP TABLE IF EXISTS t", 0);
    waiting(c);
    sent(c);
    copied(c);
    PQfinish(c);
    c = PQconnectdb("host=127.0.0.1 port=1 user=si");
    sql("CONNECT", 1);
    must(PQstatus(c) == CONNECTION_BAD);
    PQfinish(c);
}

static char port[16];

static void embedded(void **state) {
    (void)state;
    play_embedded(workload, port);
}

static void preloaded(void **state) {
    (void)state;
    play_preloaded(self_path, "postgres", port);
}

static int set_up(void **state) {
    (void)state;
    postgres_server_start(&server);
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
