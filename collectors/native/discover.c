/*
 * Finds the threads that no wrapper saw begin or end, in /proc/self/task. The opener at open, then the runtime's thread
 * about once a second. System calls and stack memory only.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "thread.h"

#include "discover.h"
#include "signal.h"

enum { SET_SIZE = 4096 }; /* power of two, twice the slots */

typedef struct tid_set {
    int32_t tids[SET_SIZE]; /* 0: free */
} tid_set;

static int set_find(const tid_set *set, int32_t tid, uint32_t *at) {
    for (*at = (uint32_t)tid * 2654435761u % SET_SIZE; set->tids[*at]; *at = (*at + 1) % SET_SIZE)
        if (set->tids[*at] == tid) return 1;
    return 0;
}

static void set_add(tid_set *set, int32_t tid) {
    uint32_t at;
    if (!set_find(set, tid, &at)) set->tids[at] = tid;
}

static void observed_tids(si__region *region, tid_set *set) {
    memset(set, 0, sizeof *set);
    uint32_t used = atomic_load(&region->slots_used);
    for (uint32_t i = 0; i < used && i < SI__SLOT_COUNT; i++) {
        si__slot *slot = si__region_slot(region, i);
        uint32_t state = atomic_load(&slot->state);
        int32_t tid = atomic_load(&slot->tid);
        if (tid > 0 && (state == SI__SLOT_CLAIMED || state == SI__SLOT_LIVE)) set_add(set, tid);
    }
}

static size_t read_task_file(int32_t tid, const char *name, char *out, size_t bytes) {
    char path[64] = "/proc/self/task/", digits[12];
    size_t count = 0, length = strlen(path);
    for (int32_t rest = tid; rest > 0; rest /= 10) digits[count++] = (char)('0' + rest % 10);
    while (count > 0) path[length++] = digits[--count];
    path[length++] = '/';
    strcpy(path + length, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t got = read(fd, out, bytes - 1);
    close(fd);
    if (got < 0) got = 0;
    out[got] = '\0';
    return (size_t)got;
}

/* Whether a thread blocks our signal: its ticks would stay pending for ever. */
static int blocks_us(int32_t tid) {
    char status[2048];
    read_task_file(tid, "status", status, sizeof status);
    const char *line = strstr(status, "\nSigBlk:\t");
    if (!line) return 0;
    uint64_t mask = 0;
    for (line += 9; *line && *line != '\n'; line++) {
        uint64_t digit = *line <= '9' ? (uint64_t)(*line - '0') : (uint64_t)((*line | 32) - 'a' + 10);
        mask = mask << 4 | (digit & 15);
    }
    int number = si__signal_number();
    return number > 0 && (mask >> (number - 1) & 1);
}

/* A creator claims a slot before its thread exists, and the thread enters its tid into it. So a thread that is listed
   and that no slot names may be one that has not come so far. */
static int is_being_created(si__region *region, int32_t tid) {
    uint32_t used = atomic_load(&region->slots_used);
    for (uint32_t i = 0; i < used && i < SI__SLOT_COUNT; i++) {
        si__slot *slot = si__region_slot(region, i);
        uint32_t state = atomic_load(&slot->state);
        int32_t owner = atomic_load(&slot->tid);
        if (state == SI__SLOT_CLAIMED && owner == 0) return 1;
        if (owner == tid && (state == SI__SLOT_CLAIMED || state == SI__SLOT_LIVE)) return 1;
    }
    return 0;
}

/* Threads that were met with our signal blocked in the walk before this one. A thread does so for a moment when it
   begins and when it ends; one that still does at the next walk means it. */
enum { SUSPECTS_MAX = 64 };
static int32_t suspects[SUSPECTS_MAX], next_suspects[SUSPECTS_MAX];
static uint32_t next_count;

static int was_suspect(int32_t tid) {
    if (next_count < SUSPECTS_MAX) next_suspects[next_count++] = tid;
    for (uint32_t i = 0; i < SUSPECTS_MAX; i++)
        if (suspects[i] == tid) return 1;
    return 0;
}

static void found(si__region *region, int32_t tid) {
    char name[16];
    int blocked = blocks_us(tid);
    if (is_being_created(region, tid) || (blocked && !was_suspect(tid))) return;
    size_t length = read_task_file(tid, "comm", name, sizeof name);
    if (length > 0 && name[length - 1] == '\n') name[length - 1] = '\0';
    si__thread_found(region, tid, length ? name : "", !blocked);
}

static void each_tid(int fd, void (*visit)(void *arg, int32_t tid), void *arg) {
    struct entry {
        uint64_t inode;
        int64_t offset;
        uint16_t bytes;
        uint8_t type;
        char name[];
    };
    _Alignas(8) char buffer[4096];
    long got;
    while ((got = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < got;) {
            const struct entry *entry = (const struct entry *)(void *)(buffer + at);
            int32_t tid = 0;
            for (const char *c = entry->name; *c >= '0' && *c <= '9'; c++) tid = tid * 10 + (*c - '0');
            if (tid > 0) visit(arg, tid);
            at += entry->bytes;
        }
    }
}

typedef struct visit_state {
    si__region *region;
    tid_set observed; /* when the walk began */
    tid_set seen;     /* of these, the ones that are still there */
} visit_state;

static void visit(void *arg, int32_t tid) {
    visit_state *state = arg;
    uint32_t at;
    if (set_find(&state->observed, tid, &at))
        set_add(&state->seen, tid);
    else if (!si__thread_is_ignored(tid))
        found(state->region, tid);
}

/* Threads that were observed before the walk began and that the walk did not meet have ended without telling us. */
static void close_gone(visit_state *state) {
    uint32_t at;
    for (uint32_t i = 0; i < SET_SIZE; i++)
        if (state->observed.tids[i] && !set_find(&state->seen, state->observed.tids[i], &at))
            si__thread_gone(state->region, state->observed.tids[i]);
}

void si__threads_discover(void) {
    si__region *region = si__probe_region();
    if (!region) return;
    int saved = errno;
    visit_state state;
    state.region = region;
    observed_tids(region, &state.observed);
    memset(&state.seen, 0, sizeof state.seen);
    memcpy(suspects, next_suspects, sizeof suspects);
    memset(next_suspects, 0, sizeof next_suspects);
    next_count = 0;
    int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        each_tid(fd, visit, &state);
        close(fd);
        close_gone(&state);
    }
    errno = saved;
}
