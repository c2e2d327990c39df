/* Chooses and reads the clock that waits are timed with: see cycle_clock.h. Opener's thread, host threads, readers. */
#include "cycle_clock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Atomic int si__cycle_source_now = SI__CYCLES_CLOCK;
si__cycle_moment si__cycle_first;

/* More than this, and a reading is a system call or goes to a device. */
#define CHEAP_NS 150u

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t si__cycles_slowly(void) {
    switch (atomic_load_explicit(&si__cycle_source_now, memory_order_relaxed)) {
    case SI__CYCLES_COUNTER:
        return si__counter();
    case SI__CYCLES_COARSE:
        return clock_ns(CLOCK_MONOTONIC_COARSE);
    case SI__CYCLES_CLOCK:
        return clock_ns(CLOCK_MONOTONIC);
    default:
        return 0;
    }
}

/* Between two readings of the counter; the closest pair of some, since a thread may lose its CPU in between. */
si__cycle_moment si__cycle_moment_now(si__cycle_source source) {
    enum { TRIES = 4 };
    si__cycle_moment best = {0, 0};
    uint64_t best_apart = UINT64_MAX;
    if (source != SI__CYCLES_COUNTER) {
        best.ns = best.cycles = source == SI__CYCLES_NONE ? 0 : clock_ns(CLOCK_MONOTONIC);
        return best;
    }
    for (int i = 0; i < TRIES; i++) {
        uint64_t before = si__counter(), ns = clock_ns(CLOCK_MONOTONIC), apart = si__counter() - before;
        if (apart >= best_apart) continue;
        best_apart = apart;
        best = (si__cycle_moment){before + apart / 2, ns};
    }
    return best;
}

double si__cycle_length_ns(const si__cycle_moment *from, const si__cycle_moment *to) {
    if (to->cycles <= from->cycles || to->ns <= from->ns) return 0;
    return (double)(to->ns - from->ns) / (double)(to->cycles - from->cycles);
}

/* The kernel lists the counter while it finds that it runs evenly, on, and alike on all processors. */
static int kernel_trusts_counter(void) {
#if defined(__x86_64__)
    static const char path[] = "/sys/devices/system/clocksource/clocksource0/available_clocksource";
    char text[128] = " ";
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    long got = syscall(SYS_read, fd, text + 1, sizeof text - 2);
    syscall(SYS_close, fd);
    if (got <= 0) return 0;
    text[got + 1] = '\0';
    for (char *at = text; *at; at++)
        if (*at == '\n') *at = ' ';
    return strstr(text, " tsc ") != NULL;
#else
    return SI__HAS_COUNTER; /* part of the architecture */
#endif
}

static int is_clock_cheap(void) {
    enum { TRIES = 8 };
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < TRIES; i++) {
        uint64_t from = clock_ns(CLOCK_MONOTONIC), ns = clock_ns(CLOCK_MONOTONIC) - from;
        if (ns < least) least = ns;
    }
    return least < CHEAP_NS;
}

void si__cycle_clock_use(si__cycle_source source) {
    si__cycle_first = si__cycle_moment_now(source);
    atomic_store_explicit(&si__cycle_source_now, source, memory_order_release);
}

void si__cycle_clock_choose(void) {
    static int chosen;
    int saved = errno;
    if (!chosen)
        si__cycle_clock_use(kernel_trusts_counter() ? SI__CYCLES_COUNTER
                            : is_clock_cheap()      ? SI__CYCLES_CLOCK
                                                    : SI__CYCLES_COARSE);
    chosen = 1;
    errno = saved;
}
