/* The probe's end of the conversation in native/hello.h. System calls only. */
#ifndef SI_PRELOAD_HELLO_H
#define SI_PRELOAD_HELLO_H

#include "native/hello.h"

/* Remembers the agent's socket. 0, or -1: the path is too long for a socket. */
int si__hello_to(const char *path);

/* Says hello with `fd` (-1: none), then waits up to wait_ms for the answer. 0; 1: said, but not answered; -1: nobody
   there. errno is left alone. Async-signal-safe. */
int si__hello_say(si__hello_kind kind, unsigned flags, int fd, const char *reason, int wait_ms);

#endif
