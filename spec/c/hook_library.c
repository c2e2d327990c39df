/* A library that carries an "SQLite" of its own, as many do: for hook_test. It answers everything with 4242. */
#define SHOWN __attribute__((visibility("default")))

SHOWN int sqlite3_step(void *statement);
SHOWN int sqlite3_exec(void *db, const char *sql, void *row, void *arg, void *why);
SHOWN const char *sqlite3_sql(void *statement);
SHOWN int library_calls_itself(void);

int sqlite3_step(void *statement) {
    (void)statement;
    return 4242;
}

int sqlite3_exec(void *db, const char *sql, void *row, void *arg, void *why) {
    (void)db, (void)sql, (void)row, (void)arg, (void)why;
    return 4242;
}

const char *sqlite3_sql(void *statement) {
    (void)statement;
    return "SELECT 'step' AS private";
}

int library_calls_itself(void) {
    return sqlite3_exec(0, "SELECT 'itself'", 0, 0, 0);
}
