/*
 * The socket on which the probes of observed processes say hello and hand over their regions.
 *
 * Loop thread only. The socket lies in a 0700 directory of ours; a peer of another user is turned away.
 */
#ifndef SI_SIDECAR_PROBE_SERVER_H
#define SI_SIDECAR_PROBE_SERVER_H

#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

#include "../runtime/agent.h"

typedef struct si__probe_server si__probe_server;

/* Processes that say hello are observed by `agent` until they end. 0 or a negative errno with error set. */
int si__probe_server_new(uv_loop_t *loop, si__agent *agent, si__probe_server **out, char *error, size_t error_bytes);
const char *si__probe_server_path(const si__probe_server *server);
size_t si__probe_server_seen(const si__probe_server *server);         /* processes that have said hello */
const char *si__probe_server_refusal(const si__probe_server *server); /* why the last probe could not start; "" */

/* Forgets all processes (their regions are drained by the agent), removes the socket. Asynchronous; `closed` on the
 * loop. */
void si__probe_server_close(si__probe_server *server, void (*closed)(void *arg), void *arg);

#endif
