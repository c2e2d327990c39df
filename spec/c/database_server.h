/*
 * Real database servers for tests, from Debian's packages: each on free ports of 127.0.0.1, in a directory of its own
 * that goes with it. Servers that refuse to be root run as nobody then.
 */
#ifndef SI_SPEC_DATABASE_SERVER_H
#define SI_SPEC_DATABASE_SERVER_H

#include <sys/types.h>

typedef struct database_server {
    pid_t pid;
    int port, end_signal;
    char directory[64];
} database_server;

/* Aborts with a message when the program is not installed, or does not come up within 60 s. */
void redis_server_start(database_server *server);
void postgres_server_start(database_server *server);
void mariadb_server_start(database_server *server);

/* Ends it and removes its directory. */
void database_server_stop(database_server *server);

#endif
