/*
 * Names of what is asked of databases and over HTTP: literals and secrets are not in them, what differs in literals
 * only has one name, and the verb and the tables stay readable.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../collectors/native/pattern.h"
#include "../../collectors/native/statement.h"

typedef struct example {
    const char *text, *name;
} example;

static void check(si__dialect dialect, const example *examples, size_t count) {
    char name[SI__NAME_BYTES];
    for (size_t i = 0; i < count; i++) {
        memset(name, 'x', sizeof name);
        si__statement_name(dialect, examples[i].text, strlen(examples[i].text), name);
        if (strcmp(name, examples[i].name) != 0) print_message("for: %s\n", examples[i].text);
        assert_string_equal(name, examples[i].name);
    }
}
#define CHECK(dialect, ...)                                                                                            \
    do {                                                                                                               \
        static const example examples[] = {__VA_ARGS__};                                                               \
        check(dialect, examples, sizeof examples / sizeof *examples);                                                  \
    } while (0)

static void literals_go_in_every_dialect(void **state) {
    (void)state;
    for (int d = SI__SQL_POSTGRES; d <= SI__SQL_SQLITE; d++) {
        CHECK(
            (si__dialect)d, {"SELECT 1", "SELECT ?"},
            {"select * from orders where id = 42 and name='O''Brien'", "select * from orders where id = ? and name=?"},
            {"  SELECT\n\ta,\r\n b  FROM t -- secret 'x\nWHERE a=1.5e-3 /* 'y */ AND b=0xFF;",
             "SELECT a, b FROM t WHERE a=? AND b=?"},
            {"SELECT * FROM t WHERE id IN (1,2, 3)", "SELECT * FROM t WHERE id IN (?)"},
            {"SELECT * FROM t WHERE id IN (7)", "SELECT * FROM t WHERE id IN (?)"},
            {"SELECT * FROM t WHERE id IN (-1, +2)", "SELECT * FROM t WHERE id IN (?)"},
            {"SELECT * FROM t WHERE (a, b) IN ((1, 'x'), (2, 'y'), (3, 'z'))", "SELECT * FROM t WHERE (a, b) IN ((?))"},
            {"INSERT INTO t (a, b) VALUES (1, 'x'), (2, NULL), (3, now()) RETURNING id",
             "INSERT INTO t (a, b) VALUES (?) RETURNING id"},
            {"INSERT INTO t VALUES (1, now()), (2, now())", "INSERT INTO t VALUES (?, now())"},
            {"UPDATE t SET a = -5, b = b - 1 WHERE c IS NOT NULL AND d = TRUE",
             "UPDATE t SET a = ?, b = b - ? WHERE c IS NOT NULL AND d = ?"},
            {"SELECT x'deadbeef', b'0101', N'text', date '2024-01-01'", "SELECT ?, date ?"},
            {"DELETE FROM t2024 WHERE v = .5", "DELETE FROM t2024 WHERE v = ?"},
            {"select a.b.c from a.b limit 10 offset 20", "select a.b.c from a.b limit ? offset ?"},
            {"SELECT 'two' 'halves'", "SELECT ?"}, {"BEGIN", "BEGIN"}, {"COMMIT;", "COMMIT"});
    }
}

static void each_dialect_has_its_own_quotes(void **state) {
    (void)state;
    CHECK(SI__SQL_POSTGRES, {"SELECT $$it's$$, $tag$a $$ b$tag$ FROM t", "SELECT ? FROM t"},
          {"SELECT E'it\\'s' FROM \"Order Items\" WHERE \"T\".\"Id\" = $1", "SELECT ? FROM ? WHERE \"T\".\"Id\" = ?"},
          {"SELECT 'C:\\', a FROM t", "SELECT ?, a FROM t"},
          {"SELECT U&'\\0441', '5'::int, a #> '{b}' FROM t", "SELECT ?::int, a #> ? FROM t"},
          {"SELECT 1 /* a /* nested 'x' */ comment */ FROM t", "SELECT ? FROM t"},
          {"COPY t (a, b) FROM STDIN", "COPY t (a, b) FROM STDIN"});
    CHECK(SI__SQL_MYSQL, {"SELECT \"it\\\"s\", 'it\\'s' FROM `t` # tail 'x", "SELECT ? FROM `t`"},
          {"SELECT 5--3", "SELECT ?-?"},
          {"SELECT _utf8mb4'x', @mine, @@session.sql_mode", "SELECT ?, @@session.sql_mode"},
          {"INSERT INTO t (a) VALUES (1),(2) ON DUPLICATE KEY UPDATE a = VALUES(a), b = VALUES(b)",
           "INSERT INTO t (a) VALUES (?) ON DUPLICATE KEY UPDATE a = VALUES(a), b = VALUES(b)"},
          {"/*!40101 SET NAMES utf8 */", "SQL"});
    CHECK(SI__SQL_SQLITE,
          {"SELECT \"t\".\"id\" FROM \"t\" WHERE \"t\".\"name\" = \"alice\"",
           "SELECT \"t\".\"id\" FROM \"t\" WHERE \"t\".\"name\" = ?"},
          {"SELECT [order id] FROM [t] WHERE a = ?1 AND b = :name AND c = @x AND d = $y",
           "SELECT ? FROM [t] WHERE a = ? AND b = ? AND c = ? AND d = ?"},
          {"INSERT INTO t VALUES (\"secret\", 1)", "INSERT INTO t VALUES (?)"});
}

static void secrets_are_never_in_a_name(void **state) {
    (void)state;
    static const char *const statements[] = {
        "CREATE USER bob IDENTIFIED BY 'hunter2'",
        "CREATE USER bob WITH PASSWORD 'hunter2'",
        "CREATE USER hunter2",
        "ALTER ROLE bob PASSWORD hunter2",
        "alter user bob@localhost identified by \"hunter2\"",
        "SET PASSWORD FOR 'bob'@'%' = PASSWORD('hunter2')",
        "SET PASSWORD = hunter2",
        "GRANT ALL ON *.* TO bob IDENTIFIED BY hunter2",
        "PRAGMA key = hunter2",
        "PRAGMA main.rekey=hunter2",
        "PRAGMA key(hunter2)",
        "ATTACH DATABASE hunter2 AS x KEY hunter2",
        "SET app.token TO hunter2",
        "SET SESSION AUTHORIZATION hunter2",
        "set @token = hunter2",
        "CHANGE MASTER TO MASTER_PASSWORD=hunter2",
        "SELECT 1 -- hunter2",
        "SELECT 'hunter2",
        "SELECT $x$hunter2",
        "SELECT /* hunter2",
        "SELECT 1 AS \"hunter2",
    };
    char name[SI__NAME_BYTES];
    for (int d = SI__SQL_POSTGRES; d <= SI__SQL_SQLITE; d++)
        for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
            si__statement_name((si__dialect)d, statements[i], strlen(statements[i]), name);
            if (strstr(name, "hunter2")) print_message("dialect %d: %s -> %s\n", d, statements[i], name);
            assert_null(strstr(name, "hunter2"));
            assert_true(strlen(name) >= 3);
        }
    CHECK(SI__SQL_POSTGRES, {"ALTER ROLE bob PASSWORD 'x'", "ALTER ROLE"}, {"create user bob", "CREATE user"},
          {"SET app.token TO x", "SET app.token"}, {"SET LOCAL work_mem = '4MB'", "SET LOCAL work_mem"});
    CHECK(SI__SQL_SQLITE, {"PRAGMA table_info(t)", "PRAGMA table_info"}, {"ATTACH 'x' AS y", "ATTACH"});
}

static void what_cannot_be_parsed_is_the_verb(void **state) {
    (void)state;
    CHECK(SI__SQL_POSTGRES, {"select 'open", "SELECT"}, {"insert into t values (1))", "INSERT"}, {"", "SQL"},
          {"'just a string'", "SQL"}, {"\x01\x02 nonsense", "SQL"}, {"42", "SQL"}, {"SELECT \x02 1", "SELECT"});
    char name[SI__NAME_BYTES];
    si__statement_name(SI__SQL_MYSQL, NULL, 0, name);
    assert_string_equal(name, "SQL");
}

static void long_statements_keep_verb_and_tables(void **state) {
    (void)state;
    static char text[20000], name[SI__NAME_BYTES];
    strcpy(text, "SELECT ");
    for (int i = 0; i < 60; i++) sprintf(text + strlen(text), "o.column_number_%c%c, ", 'a' + i % 26, 'a' + i / 26);
    strcat(text, "1 FROM orders o JOIN lines l ON l.order_id = o.id WHERE o.id = 5");
    si__statement_name(SI__SQL_POSTGRES, text, strlen(text), name);
    assert_string_equal(name, "SELECT ... FROM orders o JOIN lines l ON l.order_id = o.id WHERE o.id = ?");
    strcpy(text, "INSERT INTO orders (");
    for (int i = 0; i < 40; i++) sprintf(text + strlen(text), "column_number_%c%c, ", 'a' + i % 26, 'a' + i / 26);
    strcat(text, "z) VALUES (1, 'x')");
    si__statement_name(SI__SQL_POSTGRES, text, strlen(text), name);
    assert_string_equal(name, "INSERT INTO orders (...) VALUES (?)");
    strcpy(text, "INSERT INTO bulk VALUES ");
    while (strlen(text) < sizeof text - 100) strcat(text, "(1, 'some text that is inserted'), ");
    si__statement_name(SI__SQL_MYSQL, text, strlen(text), name);
    assert_string_equal(name, "INSERT INTO bulk VALUES (?)");
    strcpy(text, "SELECT '");
    memset(text + 8, 's', 10000);
    strcpy(text + 10008, "' FROM t");
    si__statement_name(SI__SQL_MYSQL, text, strlen(text), name);
    assert_string_equal(name, "SELECT ?");
    strcpy(text, "UPDATE t SET ");
    for (int i = 0; i < 20; i++) strcat(text, "\xd0\xba\xd0\xbe\xd0\xbb = 1, "); /* two bytes a letter */
    si__statement_name(SI__SQL_MYSQL, text, strlen(text), name);
    assert_true(strlen(name) >= SI__NAME_BYTES - 6 && strlen(name) < SI__NAME_BYTES);
    assert_memory_equal(name + strlen(name) - 3, "...", 3);
    for (size_t i = 0; i < strlen(name); i++)
        if ((unsigned char)name[i] >= 0xc0) assert_int_equal((unsigned char)name[i + 1] & 0xc0, 0x80);
    si__statement_name(SI__SQL_MYSQL, "SELECT \xff\xfe FROM t", 16, name);
    assert_string_equal(name, "SELECT __ FROM t");
}

static void urls_and_paths_have_no_ids(void **state) {
    (void)state;
    static const struct {
        const char *method, *url, *name;
    } examples[] = {
        {"GET", "https://Bob:hunter2@API.example.org:8443/v1/orders/1234?token=hunter2#hunter2",
         "GET api.example.org:8443/v1/orders/:id"},
        {"POST", "http://h/users/550e8400-e29b-41d4-a716-446655440000/avatar", "POST h/users/:id/avatar"},
        {"GET", "http://h/blob/deadbeefcafe1234", "GET h/blob/:id"},
        {"GET", "http://h/u/bob@example.org/x", "GET h/u/:id/x"},
        {"GET", "http://h/reset/eyJhbGciOiJIUzI1NiIsInR5cCI", "GET h/reset/:id"},
        {"GET", "http://h", "GET h/"},
        {"GET", "http://h?x=hunter2", "GET h/"},
        {NULL, "h/a;jsessionid=hunter2", "HTTP h/a"},
        {"GET", "ftp://u:hunter2@h/file.txt", "FTP h/file.txt"},
        {"GET", "http://[::1]:80/static/app.js", "GET [::1]:80/static/app.js"},
        {"G\nT", "http://h/%2e%2e/x", "HTTP h/:id/x"},
    };
    char name[SI__NAME_BYTES];
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        si__pattern_url(examples[i].method, examples[i].url, name);
        assert_string_equal(name, examples[i].name);
    }
    si__pattern_path("GET", "/orders/17/lines/3", name);
    assert_string_equal(name, "GET /orders/:id/lines/:id");
    si__pattern_path(
        "GET", "/pppppppppppppppppppppppppppppp/qqqqqqqqqqqqqqqqqqqqqqqqqqqqq/rrrrrrrrrrrrrrrrrrrrrrrrr/ssssss", name);
    assert_int_equal(strncmp(name, "GET /pppppppppppppppppppppppppppppp/qqqqqqqqqqqqqqqqqqqqqqqqqqqqq", 60), 0);
    assert_string_equal(name + strlen(name) - 4, "/...");
}

static void redis_commands_show_no_ids_and_no_values(void **state) {
    (void)state;
    static const struct {
        const char *command, *key, *name;
    } examples[] = {
        {"GET", "user:42:name", "GET user:*:name"},
        {"get", "user:alice", "GET user:*"},
        {"SET", "counter", "SET counter"},
        {"SET", "session:4f9a8b7c6d5e", "SET session:*"},
        {"AUTH", "hunter2", "AUTH"},
        {"HELLO", "3", "HELLO"},
        {"EVAL", "return redis.call()", "EVAL"},
        {"CONFIG", "SET", "CONFIG"},
        {"hunter2!", "x", "COMMAND"},
        {"JSON.GET", "doc:7", "JSON.GET doc:*"},
        {"GET", "some text with blanks", "GET *"},
        {"PING", NULL, "PING"},
    };
    char name[SI__NAME_BYTES];
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        const char *key = examples[i].key;
        si__pattern_command(examples[i].command, strlen(examples[i].command), key, key ? strlen(key) : 0, name);
        assert_string_equal(name, examples[i].name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_go_in_every_dialect),
        cmocka_unit_test(each_dialect_has_its_own_quotes),
        cmocka_unit_test(secrets_are_never_in_a_name),
        cmocka_unit_test(what_cannot_be_parsed_is_the_verb),
        cmocka_unit_test(long_statements_keep_verb_and_tables),
        cmocka_unit_test(urls_and_paths_have_no_ids),
        cmocka_unit_test(redis_commands_show_no_ids_and_no_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
