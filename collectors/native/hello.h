/*
 * What a preloaded probe says to its agent (`si run`) over a Unix socket of type SOCK_SEQPACKET, one message a
 * connection.
 *
 * Environment of an observed program:
 *   LD_PRELOAD=.../libsi-probe.so
 *   SI_PROBE_SOCKET=PATH      the agent's socket; without it the probe does nothing
 *   SI_PROBE_MAIN=PID         optional: the process that introduces itself at once. Others (its children and what they
 *                             exec) do so at their first tick of CPU time or first thread, so that a program which runs
 *                             for a millisecond costs next to nothing. Not set: everybody at once.
 *   SI_PROBE_CPU_MHZ=N        optional: CPU rate before the agent has said one (default 100000: 100 Hz)
 *   SI_PROBE_HEAP_BYTES=N, SI_PROBE_WAIT_NS=N, SI_PROBE_CALL_NS=N
 *                             optional: the other samplers' means before the agent has said them (default 524288,
 *                             10000000, 10000000; 0: off)
 *
 * START carries the region's memfd as SCM_RIGHTS (unless `status` says that there is none). The agent sets the region's
 * control words, publishes unwind tables, and answers one byte (any value); the probe waits for it at most
 * SI__HELLO_WAIT_MS, and not at all when QUIET is set: then nobody reads an answer and the connection is closed
 * already. EXIT carries no descriptor: the process is about to exit normally and its modules_wanted is ahead of
 * modules_seen. The agent publishes and answers one byte; the probe waits at most SI__HELLO_EXIT_WAIT_MS.
 *
 * The sender is hostile input. Who it is, the kernel says (SO_PEERCRED), not the message: `pid` is as seen in the
 * sender's own pid namespace and only worth showing.
 */
#ifndef SI_NATIVE_HELLO_H
#define SI_NATIVE_HELLO_H

#include <stdint.h>

#include "region.h"

#define SI__HELLO_MAGIC 0x4f4c4c48u /* "HLLO" */
#define SI__HELLO_VERSION 1u

enum { SI__HELLO_WAIT_MS = 100, SI__HELLO_EXIT_WAIT_MS = 50 };

typedef enum si__hello_kind { SI__HELLO_START = 1, SI__HELLO_EXIT = 2 } si__hello_kind;

enum {                      /* si__hello.flags */
       SI__HELLO_QUIET = 1, /* nobody waits for the answer */
       SI__HELLO_FORKED = 2 /* a forked child that has not called exec */
};

typedef struct si__hello {
    uint32_t magic;
    uint16_t version;
    uint8_t kind; /* si__hello_kind */
    uint8_t flags;
    int32_t pid;
    uint8_t status; /* 0: a region comes with it; 1: the probe could not start, see reason */
    uint8_t reserved[3];
    char reason[SI__REASON_BYTES]; /* ends with NUL */
} si__hello;

#define SI__PROBE_SOCKET_VARIABLE "SI_PROBE_SOCKET"
#define SI__PROBE_MAIN_VARIABLE "SI_PROBE_MAIN"
#define SI__PROBE_CPU_MHZ_VARIABLE "SI_PROBE_CPU_MHZ"
#define SI__PROBE_HEAP_BYTES_VARIABLE "SI_PROBE_HEAP_BYTES"
#define SI__PROBE_WAIT_NS_VARIABLE "SI_PROBE_WAIT_NS"
#define SI__PROBE_CALL_NS_VARIABLE "SI_PROBE_CALL_NS"

#endif
