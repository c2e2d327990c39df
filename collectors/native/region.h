/*
 * The region: shared memory between the probe (inside the observed program) and the runtime.
 *
 * One memfd-backed mapping per observed process. The probe writes samples and counts, the runtime
 * writes control words and unwind tables. Offsets only, never pointers: both sides map it at
 * different addresses. The mapping is sparse: what is not touched costs no memory.
 *
 * Every field has exactly one writing side, said beside it: P = probe, R = runtime.
 */
#ifndef SI_NATIVE_REGION_H
#define SI_NATIVE_REGION_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "bucket.h"

#define SI__REGION_MAGIC 0x31304e4f49474553ull /* "SEGION01" */
#define SI__REGION_VERSION 1u

enum {
    SI__SLOT_COUNT = 2048,       /* threads that can be observed at once */
    SI__RING_BYTES = 32 * 1024,  /* ring of one thread; power of two */
    SI__INSTRUMENT_COUNT = 1024, /* distinct segments, handlers, calls, error groups, metrics */
    SI__NAME_BYTES = 96,         /* an instrument's name with its NUL */
    SI__FRAMES_MAX = 256,        /* frames of one sample */
    SI__COLLECTOR_STATES = 32,
    SI__REASON_BYTES = 120
};
#define SI__UNWIND_ARENA_BYTES (64u * 1024 * 1024)

/* ---- Events: variable-length records in a thread's ring ---- */

typedef enum si__event_type {
    SI__EVENT_PAD = 1,   /* skip to the ring's start */
    SI__EVENT_CPU = 2,   /* value: nanoseconds of CPU; count: samples (timer ticks) */
    SI__EVENT_ERROR = 3, /* count: 1; text: group NUL message */
    SI__EVENT_CRASH = 4  /* value: signal number; text: description */
} si__event_type;

enum {                          /* si__event.flags */
       SI__STACK_TRUNCATED = 1, /* the walk ended early: no row and no frame pointer, or too deep */
       SI__STACK_OFF = 2,       /* sp was outside every known stack: only the leaf is recorded */
       SI__EVENT_GUARDED = 4,   /* a crash that si_guard survived */
       SI__EVENT_LATE = 8 /* CPU time between a thread's last tick and its end: the one frame is its start function;
                             with TRUNCATED, ticks that no tables came for: the frame is where the last of them was */
};
enum { SI__SLOT_STACK_SURE = 1 }; /* si__slot.flags: the bounds come from the thread itself; R never replaces them */

/* `head` is stored last with release order: (type << 32 | size in bytes, a multiple of 8); 0: not committed yet. */
typedef struct si__event {
    _Atomic uint64_t head;
    uint64_t time_ns; /* CLOCK_MONOTONIC */
    int64_t value;
    uint32_t count;
    uint16_t flags;
    uint16_t frame_count;
    uint32_t text_bytes;
    uint32_t reserved;
    /* uint64_t pcs[frame_count], leaf first; then char text[text_bytes]. Return addresses are as found on the
       stack (not minus one); the leaf is the exact pc. */
} si__event;

/* ---- One observed thread ---- */

typedef enum si__slot_state { SI__SLOT_FREE = 0, SI__SLOT_CLAIMED, SI__SLOT_LIVE, SI__SLOT_CLOSED } si__slot_state;

typedef struct si__slot {
    _Atomic uint32_t state;    /* P: FREE->CLAIMED->LIVE->CLOSED; R: CLOSED->FREE after the last drain */
    _Atomic int32_t tid;       /* P */
    _Atomic uint64_t stack_lo; /* P or R (for threads found already running); 0: not known yet */
    _Atomic uint64_t stack_hi;
    _Atomic uint64_t sp_seen;      /* P: a stack pointer outside the known bounds; R answers with bounds */
    _Atomic uint64_t reserve_pos;  /* P: bytes reserved so far, ever growing */
    _Atomic uint64_t read_pos;     /* R: bytes consumed */
    _Atomic uint64_t dropped;      /* P: events that found no room */
    _Atomic uint64_t samples;      /* P: events written */
    _Atomic uint32_t unwind_epoch; /* P: generation of the unwind table in use now; 0: none */
    _Atomic uint32_t flags;
    _Atomic int32_t timer_id;        /* P: kernel timer, -1: none */
    _Atomic uint32_t cpu_generation; /* P: control generation this thread's timer was armed for */
    char name[16];                   /* P: the thread's name */
    char pad[32];
} si__slot;

_Static_assert(sizeof(si__slot) == 128, "one slot fills two cache lines");

/* ---- Instruments: counts that never lose an event ---- */

typedef enum si__instrument_kind {
    SI__INSTRUMENT_SEGMENT = 1,
    SI__INSTRUMENT_HANDLER,
    SI__INSTRUMENT_CALL_HTTP,
    SI__INSTRUMENT_CALL_SQL,
    SI__INSTRUMENT_CALL_CACHE,
    SI__INSTRUMENT_CALL_DOCUMENT,
    SI__INSTRUMENT_CALL_OTHER,
    SI__INSTRUMENT_ERROR,
    SI__INSTRUMENT_GAUGE,
    SI__INSTRUMENT_COUNTER
} si__instrument_kind;

/* All counts only grow; the runtime subtracts what it saw last. Buckets: see native/bucket.h. */
typedef struct si__instrument {
    _Atomic uint32_t state; /* P: 0: kind and name are not there yet, 2: they are */
    uint32_t kind;
    _Atomic uint64_t hash; /* of kind and name; 0: free. Claims the entry: equal hashes are taken for equal names */
    char name[SI__NAME_BYTES];
    _Atomic uint64_t count;
    _Atomic uint64_t sum_ns;     /* timings */
    _Atomic uint64_t errors;     /* handlers: 5xx */
    _Atomic uint64_t value_bits; /* gauge, counter: bits of a double */
    _Atomic uint64_t max_ns;     /* P raises it, R takes it and leaves 0 */
    char pad[104];
} si__instrument; /* its buckets: uint32_t [SI__BUCKET_COUNT] at buckets_off + index * SI__BUCKET_COUNT * 4 */

/* ---- The header ---- */

typedef enum si__collector_status {
    SI__COLLECTOR_OFF = 0,
    SI__COLLECTOR_ON,
    SI__COLLECTOR_UNAVAILABLE
} si__collector_status;

typedef struct si__collector_state {
    _Atomic uint32_t status; /* si__collector_status, P */
    char reason[SI__REASON_BYTES];
} si__collector_state;

typedef struct si__control {     /* R */
    _Atomic uint32_t generation; /* grows whenever a field below changed */
    _Atomic uint32_t cpu_mhz;    /* CPU samples per 1000 s of CPU time and thread (100 Hz = 100000); 0: off */
} si__control;

#define SI__REGION_LAYOUT_BYTES 4096u

typedef struct si__region {
    /* The first page is written once, at creation. A reader in another process maps a private copy of it, so what
       si__region_map has checked stays true whatever the observed process does later. */
    uint64_t magic;
    uint32_t version;
    uint32_t header_bytes;
    uint64_t total_bytes;
    uint64_t slots_off, rings_off, instruments_off, buckets_off, unwind_off;
    char layout_pad[SI__REGION_LAYOUT_BYTES - 64];
    /* From here on the page is shared. */
    _Atomic int32_t pid;                  /* P */
    _Atomic uint32_t inert;               /* P: 1 after the observed process closed its side */
    uint64_t start_time_ns;               /* P: CLOCK_REALTIME */
    si__control control;                  /* R */
    _Atomic uint32_t modules_wanted;      /* P: grows after dlopen/dlclose and when a pc had no module */
    _Atomic uint32_t modules_seen;        /* R: the value that the published tables answer */
    _Atomic uint32_t slots_used;          /* P: highest slot index ever used + 1 */
    _Atomic uint64_t threads_refused;     /* P: threads without a slot or timer */
    _Atomic uint64_t instruments_refused; /* P: names that found no room */
    si__collector_state collectors[SI__COLLECTOR_STATES]; /* P; index = place in the registry */
} si__region;

_Static_assert(offsetof(si__region, pid) == SI__REGION_LAYOUT_BYTES, "the layout has a page of its own");
_Static_assert(sizeof(si__instrument) == 256, "instruments share no cache line");

static inline si__slot *si__region_slot(si__region *r, uint32_t i) {
    return (si__slot *)(void *)((char *)r + r->slots_off) + i;
}
static inline char *si__region_ring(si__region *r, uint32_t i) {
    return (char *)r + r->rings_off + (uint64_t)i * SI__RING_BYTES;
}
static inline si__instrument *si__region_instrument(si__region *r, uint32_t i) {
    return (si__instrument *)(void *)((char *)r + r->instruments_off) + i;
}

/* The buckets of instrument i: SI__BUCKET_COUNT counts (native/bucket.h). */
static inline _Atomic uint32_t *si__region_buckets(si__region *r, uint32_t i) {
    return (_Atomic uint32_t *)(void *)((char *)r + r->buckets_off) + (size_t)i * SI__BUCKET_COUNT;
}

/* R: asks the probe for CPU samples at `mhz` thousandths of a hertz (0: off). A timer takes the new rate over at its
   next tick; a timer that is off is started by si__threads_rearm (embedded) or by its slow tick (preloaded). */
static inline void si__region_set_cpu_mhz(si__region *r, uint32_t mhz) {
    atomic_store_explicit(&r->control.cpu_mhz, mhz, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->control.generation, 1, memory_order_release);
}

/* Creates a memfd and lays a region out in it. Only system calls: usable in a signal handler and after fork.
   Returns the region and stores the descriptor, or NULL with *errno_out set. */
si__region *si__region_create(int *fd_out, int *errno_out);

/* Maps a region that another process created, after checking every offset and size in it (it is hostile input): the
   file's size must be sealed, else a shrinking file could kill the reader. NULL with *errno_out set: EINVAL when it is
   no region of this version. */
si__region *si__region_map(int fd, int *errno_out);
void si__region_unmap(si__region *region);

#endif
