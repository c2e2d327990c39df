/*
 * Creates, checks and maps the region. The observed program creates it (host thread, or a signal handler in a forked
 * child: system calls only, no allocation, no lock); the runtime maps another process's, which it must not trust.
 */
#include "region.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096 };

#define ROUND_UP(n) (((uint64_t)(n) + PAGE - 1) & ~(uint64_t)(PAGE - 1))
#define HEADER_BYTES ROUND_UP(sizeof(si__region))
#define SLOTS_OFF HEADER_BYTES
#define RINGS_OFF (SLOTS_OFF + ROUND_UP(SI__SLOT_COUNT * sizeof(si__slot)))
#define INSTRUMENTS_OFF (RINGS_OFF + (uint64_t)SI__SLOT_COUNT * SI__RING_BYTES)
#define BUCKETS_OFF (INSTRUMENTS_OFF + ROUND_UP(SI__INSTRUMENT_COUNT * sizeof(si__instrument)))
#define WAITS_OFF (BUCKETS_OFF + ROUND_UP((uint64_t)SI__INSTRUMENT_COUNT * SI__BUCKET_COUNT * sizeof(uint32_t)))
#define TALLIES_OFF (WAITS_OFF + ROUND_UP(SI__SLOT_COUNT * sizeof(si__wait_now)))
#define LIVE_OFF (TALLIES_OFF + ROUND_UP(SI__SLOT_COUNT * sizeof(si__tallies)))
#define NAMES_OFF (LIVE_OFF + ROUND_UP(SI__LIVE_COUNT * sizeof(si__live)))
#define UNWIND_OFF (NAMES_OFF + ROUND_UP(SI__NAME_COUNT * sizeof(si__name)))
#define TOTAL_BYTES (UNWIND_OFF + SI__UNWIND_ARENA_BYTES)

_Static_assert(HEADER_BYTES % PAGE == 0 && RINGS_OFF % PAGE == 0 && UNWIND_OFF % PAGE == 0, "parts start on pages");

/* Moves a descriptor out of the way of programs that count on low numbers. Keeps it where it is if that fails. */
static int move_high(int fd) {
    struct rlimit limit;
    int floor = 512;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 1024) floor = (int)(limit.rlim_cur / 2);
    int high = fcntl(fd, F_DUPFD_CLOEXEC, floor);
    if (high < 0) return fd;
    close(fd);
    return high;
}

static void lay_out(si__region *region) {
    region->version = SI__REGION_VERSION;
    region->header_bytes = (uint32_t)HEADER_BYTES;
    region->total_bytes = TOTAL_BYTES;
    region->slots_off = SLOTS_OFF;
    region->rings_off = RINGS_OFF;
    region->instruments_off = INSTRUMENTS_OFF;
    region->buckets_off = BUCKETS_OFF;
    region->waits_off = WAITS_OFF;
    region->tallies_off = TALLIES_OFF;
    region->live_off = LIVE_OFF;
    region->names_off = NAMES_OFF;
    region->unwind_off = UNWIND_OFF;
    atomic_store_explicit(&region->pid, (int32_t)getpid(), memory_order_relaxed);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    region->start_time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    atomic_store_explicit(&region->modules_wanted, 1, memory_order_relaxed);
    region->magic = SI__REGION_MAGIC;
}

si__region *si__region_create(int *fd_out, int *errno_out) {
    int saved = errno;
    si__region *region = NULL;
    int fd = (int)syscall(SYS_memfd_create, "si-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) goto fail;
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < TOTAL_BYTES) { /* ftruncate would raise SIGXFSZ */
        errno = EFBIG;
        goto fail;
    }
    fd = move_high(fd);
    if (ftruncate(fd, (off_t)TOTAL_BYTES) != 0) goto fail;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) goto fail;
    void *at = mmap(NULL, TOTAL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (at == MAP_FAILED) goto fail;
    madvise(at, TOTAL_BYTES, MADV_DONTDUMP); /* a core of the host stays as small as without us */
    region = at;
    lay_out(region);
    *fd_out = fd;
    *errno_out = 0;
    errno = saved;
    return region;
fail:
    *errno_out = errno;
    *fd_out = -1;
    if (fd >= 0) close(fd);
    errno = saved;
    return NULL;
}

/* The layout is fixed by the version, so each offset has exactly one right value. */
static int layout_valid(const si__region *region, uint64_t file_bytes) {
    return region->magic == SI__REGION_MAGIC && region->version == SI__REGION_VERSION &&
           region->header_bytes == HEADER_BYTES && region->total_bytes == TOTAL_BYTES && file_bytes == TOTAL_BYTES &&
           region->slots_off == SLOTS_OFF && region->rings_off == RINGS_OFF &&
           region->instruments_off == INSTRUMENTS_OFF && region->buckets_off == BUCKETS_OFF &&
           region->waits_off == WAITS_OFF && region->tallies_off == TALLIES_OFF && region->live_off == LIVE_OFF &&
           region->names_off == NAMES_OFF && region->unwind_off == UNWIND_OFF;
}

/* Replaces the first page by a private copy: a write makes the kernel copy it. */
static int make_layout_private(void *at, int fd) {
    void *first = mmap(at, SI__REGION_LAYOUT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0);
    if (first == MAP_FAILED) return -1;
    volatile char *pad = ((si__region *)first)->layout_pad;
    pad[sizeof((si__region *)0)->layout_pad - 1] = 0;
    return mprotect(first, SI__REGION_LAYOUT_BYTES, PROT_READ);
}

si__region *si__region_map(int fd, int *errno_out) {
    struct stat st;
    *errno_out = EINVAL;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK)) return NULL;
    if (fstat(fd, &st) != 0 || (uint64_t)st.st_size != TOTAL_BYTES) return NULL;
    void *at = mmap(NULL, TOTAL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (at == MAP_FAILED) {
        *errno_out = errno;
        return NULL;
    }
    madvise(at, TOTAL_BYTES, MADV_DONTDUMP);
    if (make_layout_private(at, fd) != 0) {
        *errno_out = errno;
        munmap(at, TOTAL_BYTES);
        return NULL;
    }
    if (!layout_valid(at, (uint64_t)st.st_size)) {
        munmap(at, TOTAL_BYTES);
        return NULL;
    }
    *errno_out = 0;
    return at;
}

void si__region_unmap(si__region *region) {
    if (region) munmap(region, TOTAL_BYTES);
}

void si__region_let_go(si__region *region) {
    /* But the first page, which is a copy and not the file's. */
    madvise((char *)region + SI__REGION_LAYOUT_BYTES, TOTAL_BYTES - SI__REGION_LAYOUT_BYTES, MADV_DONTNEED);
}

void *si__region_unmap_but_tables(si__region *region) {
    void *tables = (char *)region + UNWIND_OFF;
    munmap(region, UNWIND_OFF);
    return tables;
}

void si__region_unmap_tables(void *tables) {
    if (tables) munmap(tables, SI__UNWIND_ARENA_BYTES);
}
