/*
 * The database clients that are measured: a file and two tables each. See database.c.
 */
#ifndef SI_COLLECTORS_DATABASE_H
#define SI_COLLECTORS_DATABASE_H

#include "native/call.h"

extern const si__hook_table si__sqlite_hooks[SI__COPIES], si__postgres_hooks[SI__COPIES], si__mysql_hooks[SI__COPIES],
    si__redis_hooks[SI__COPIES], si__mongo_hooks[SI__COPIES];

/* What an address stands for in the table of handles (native/handle.h). */
enum {
    SI__HANDLE_SQLITE = 1,
    SI__HANDLE_POSTGRES,
    SI__HANDLE_POSTGRES_PREPARED,
    SI__HANDLE_MYSQL,
    SI__HANDLE_MYSQL_RESULT,
    SI__HANDLE_MYSQL_STATEMENT,
    SI__HANDLE_REDIS,
    SI__HANDLE_MONGO,
    SI__HANDLE_MONGO_CURSOR,
    SI__HANDLE_CURL,
    SI__HANDLE_HTTP_SERVER
};

#endif
