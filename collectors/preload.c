/*
 * libsi-probe.so: the probe alone, preloaded into a program that `si run` starts, and into what that program starts.
 *
 * Needs libc only. The constructor makes the region and introduces itself to the agent (native/hello.h), on the main
 * thread before main. Whatever fails, the program runs on unobserved, silently: the agent is who says so.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "crash.h"
#include "native/probe.h"
#include "native/sandbox.h"
#include "native/thread.h"
#include "preload_hello.h"

enum {
    DEFAULT_CPU_MHZ = 100000,
    DEFAULT_HEAP_BYTES = 512 * 1024,
    DEFAULT_WAIT_NS = 10000000,
    DEFAULT_CALL_NS = 10000000
};

void si__preload_resolve(void);     /* preload_interpose.c */
void si__preload_resolve_end(void); /* preload_end.c */

static pid_t opener; /* the process whose constructor ran; a forked child differs */

static int introduce(si__region *region, int fd, void *arg) {
    (void)region;
    (void)arg;
    return si__hello_say(SI__HELLO_START, 0, fd, NULL, SI__HELLO_WAIT_MS);
}

static int introduce_quietly(si__region *region, int fd) {
    (void)region;
    unsigned flags = SI__HELLO_QUIET | (getpid() != opener ? SI__HELLO_FORKED : 0);
    return si__hello_say(SI__HELLO_START, flags, fd, NULL, 0);
}

static long number_in(const char *text, long missing) {
    if (!text || *text < '0' || *text > '9') return missing;
    long number = 0;
    for (; *text >= '0' && *text <= '9' && number < 1000000000L; text++) number = number * 10 + (*text - '0');
    return number;
}

__attribute__((constructor)) static void start(void) {
    int saved = errno;
    const char *path = secure_getenv(SI__PROBE_SOCKET_VARIABLE);
    si__preload_resolve();
    si__preload_resolve_end();
    opener = getpid();
    if (path && si__hello_to(path) == 0) {
        si__probe_options options = {
            .adopt = introduce, .adopt_quietly = introduce_quietly, .crashes = 1, .preloaded = 1};
        options.cpu_mhz = (uint32_t)number_in(getenv(SI__PROBE_CPU_MHZ_VARIABLE), DEFAULT_CPU_MHZ);
        options.heap_bytes = (uint64_t)number_in(getenv(SI__PROBE_HEAP_BYTES_VARIABLE), DEFAULT_HEAP_BYTES);
        options.wait_ns = (uint64_t)number_in(getenv(SI__PROBE_WAIT_NS_VARIABLE), DEFAULT_WAIT_NS);
        options.call_ns = (uint64_t)number_in(getenv(SI__PROBE_CALL_NS_VARIABLE), DEFAULT_CALL_NS);
        int later = number_in(getenv(SI__PROBE_MAIN_VARIABLE), opener) != opener;
        int rc = later ? si__probe_open_later(&options) : si__probe_open(&options);
        if (rc != 0) si__hello_say(SI__HELLO_START, SI__HELLO_QUIET, -1, si__probe_reason(), 0);
        si__probe_settle(); /* what the start of the program has taken */
    }
    errno = saved;
}

/* A program that ends before the agent has tables for what it loaded last would leave stacks without names. */
__attribute__((destructor)) static void finish(void) {
    int saved = errno;
    if (si__sandboxed()) return;
    si__crash_survived();
    si__probe_settle();
    si__region *region = si__probe_region();
    if (region && atomic_load_explicit(&region->modules_wanted, memory_order_acquire) !=
                      atomic_load_explicit(&region->modules_seen, memory_order_acquire))
        si__hello_say(SI__HELLO_EXIT, 0, -1, NULL, SI__HELLO_EXIT_WAIT_MS);
    errno = saved;
}
