/*
 * The HTTP server: listens, bounds what strangers can cost, hands requests to workers, sends answers.
 *
 * HTTP threads (libmicrohttpd's pool) never block: they only move bytes. Two pools of workers handle requests, one for
 * agents and one for people, so that a heavy page cannot hold up reports.
 */
#ifndef SI_SERVER_SERVER_H
#define SI_SERVER_SERVER_H

#include <pthread.h>
#include <stdatomic.h>

#include "options.h"
#include "pool.h"
#include "request.h"
#include "throttle.h"

typedef struct si__ingest_counts {
    _Atomic uint64_t stored, duplicates, refused, profiles, bytes;
    _Atomic uint64_t waits, waited_ns, wait_most_ns; /* from arrival to acknowledgement, of the minute; see minute.h */
} si__ingest_counts;

struct si__asset;
struct si__alerting;
struct si__channels;
struct si__connections;

typedef struct si__server { /* made by main, read by everybody; what changes is atomic or has its own lock */
    const si__options *options;
    si__store *store;
    struct MHD_Daemon *daemon;
    si__pool *people, *agents;
    si__throttle *throttle; /* of sign-in attempts */
    struct si__asset *assets;
    struct si__connections *connections;
    struct si__channels *channels;           /* made by main, outlives alerting */
    _Atomic(struct si__alerting *) alerting; /* may be NULL */
    uint8_t secret[32];                      /* of this process: anonymous CSRF tokens */
    char listen_host[64];
    uint16_t port; /* the one in use */
    int64_t started_ms;
    atomic_int stopping, hashing;          /* hashing: argon2 runs in progress */
    _Atomic uint64_t requests, body_bytes; /* body_bytes: held in memory now */
    si__ingest_counts ingest;
} si__server;

/* Binds and starts. 0 or SI_E* with error set. */
int si__server_start(si__server *server, char *error, size_t error_bytes);
/* Stops: no new requests, those at work are finished, within about a second. The store is closed by the caller, after.
 */
void si__server_stop(si__server *server);

/* Sends the answer of a suspended request. Any thread; the request is not the caller's any more. */
void si__server_finish(si__request *request);

#endif
