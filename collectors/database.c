/*
 * Database clients: hooks what the program has loaded of SQLite, libpq, MariaDB's and MySQL's library, hiredis and
 * libmongoc. Each has a file database_NAME.c; nothing is linked.
 *
 * Host thread at open; what is loaded later is hooked by si__hook_refresh or si__hook_notice.
 */
#include "database.h"

#include <stdio.h>

#include "collector.h"

static const si__hook_table *const tables[] = {
    &si__sqlite_hooks[0], &si__sqlite_hooks[1], &si__postgres_hooks[0], &si__postgres_hooks[1], &si__mysql_hooks[0],
    &si__mysql_hooks[1],  &si__redis_hooks[0],  &si__redis_hooks[1],    &si__mongo_hooks[0],    &si__mongo_hooks[1],
};
enum { TABLES = sizeof tables / sizeof *tables };

static int start(char *reason, size_t reason_bytes) {
    int rc = si__hook_install_all(tables, TABLES);
    if (rc != 0) snprintf(reason, reason_bytes, "too many hook tables");
    return rc;
}

static void stop(void) {
    for (int i = 0; i < TABLES; i++) si__hook_remove(tables[i]);
}

const si__collector si__collector_database = {
    .name = "database", .title = "Database clients", .start = start, .stop = stop};
