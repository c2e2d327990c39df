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
#include "cycle_clock.h"

#define SI__REGION_MAGIC 0x31304e4f49474553ull /* "SEGION01" */
#define SI__REGION_VERSION 4u

enum {
    SI__SLOT_COUNT = 2048,       /* threads that can be observed at once */
    SI__RING_BYTES = 32 * 1024,  /* ring of one thread; power of two */
    SI__INSTRUMENT_COUNT = 1024, /* distinct segments, handlers, calls, error groups, metrics */
    SI__NAME_BYTES = 96,         /* an instrument's name with its NUL */
    SI__FRAMES_MAX = 256,        /* frames of one sample */
    SI__LIVE_COUNT = 65536,      /* sampled allocations that are live at once; power of two */
    SI__NAME_COUNT = 8192,       /* power of two */
    SI__COLLECTOR_STATES = 32,
    SI__REASON_BYTES = 120
};
enum { SI__INSTRUMENTS_PER_PAGE = 16, SI__INSTRUMENT_PAGES = SI__INSTRUMENT_COUNT / SI__INSTRUMENTS_PER_PAGE };
enum { SI__LIVE_CHUNKS = SI__LIVE_COUNT / 128 }; /* pages of the live table */
#define SI__UNWIND_ARENA_BYTES (64u * 1024 * 1024)

/* ---- Events: variable-length records in a thread's ring ---- */

typedef enum si__event_type {
    SI__EVENT_PAD = 1,   /* skip to the ring's start */
    SI__EVENT_CPU = 2,   /* value: nanoseconds of CPU; count: samples (timer ticks) */
    SI__EVENT_ERROR = 3, /* count: 1; value: 1: no instrument had room to count it; text: group NUL message */
    SI__EVENT_CRASH = 4, /* value: signal number; text: description */
    SI__EVENT_ALLOC = 5, /* value: bytes, count: objects that the sample stands for; detail: its place in the live
                            table; text: its serial there, 8 bytes */
    SI__EVENT_WAIT = 6,  /* value: ns waited, count: waits that the sample stands for; detail: si__wait_category; text:
                            si__wait_text (native/wait_call.h) */
    SI__EVENT_CALL = 7,  /* value: ns, count: calls that the sample stands for; detail: si__instrument_kind; text: the
                            instrument's name, NUL, nanoseconds of the call itself (8 bytes) */
} si__event_type;
#define SI__EVENT_LAST SI__EVENT_CALL

typedef enum si__wait_category { /* what a wait is for; the profile that it is shown in */
                                 SI__WAIT_LOCK,
                                 SI__WAIT_NETWORK,
                                 SI__WAIT_SYSTEM,
                                 SI__WAIT_CHANNEL,
                                 SI__WAIT_CATEGORIES
} si__wait_category;

enum {                          /* si__event.flags */
       SI__STACK_TRUNCATED = 1, /* the walk ended early: no row and no frame pointer, or too deep */
       SI__STACK_OFF = 2,       /* sp was outside every known stack: only the leaf is recorded */
       SI__EVENT_GUARDED = 4,   /* a crash that si_guard survived */
       SI__EVENT_HANDLED = 16,  /* takes back the crash before it: the host's handler has dealt with it */
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
    uint32_t detail; /* by type, see above */
    /* uint64_t pcs[frame_count], leaf first; then char text[text_bytes]. Return addresses are as found on the
       stack (not minus one); the leaf is the exact pc. A pc may be a name instead: see si__pc_is_name. */
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

/* ---- What a thread waits in right now: so that a hang is seen while it lasts ---- */

/* Read with si__wait_now_read (native/wait_call.h). P, at the start of a wait: sequence + 1, the rest, `call`; at its
   end it stores call 0 alone. Index: the slot's. */
typedef struct si__wait_now {
    _Atomic uint32_t sequence;  /* P: grows by one with every wait; an event of that wait carries it */
    _Atomic uint32_t call;      /* P: which call it is (native/wait_call.h); 0: none */
    _Atomic uint64_t since;     /* P: reading of the cycle clock; 0: not known */
    _Atomic uint64_t caller_pc; /* P: who called it */
    _Atomic uint64_t object;    /* P: what it waits for: address of the lock, descriptor; 0: not known */
    _Atomic int32_t tid;        /* P: whose wait it is: a slot's next owner has not waited yet */
    uint32_t pad[7];
} si__wait_now;

_Static_assert(sizeof(si__wait_now) == 64, "threads that wait share no cache line");

/* ---- Tallies: exact counts of a thread's calls; ever growing, also across the slot's owners ---- */

typedef enum si__tally {
    SI__TALLY_MALLOC,       /* allocations */
    SI__TALLY_FREE,         /* releases */
    SI__TALLY_MALLOC_BYTES, /* bytes asked for */
    SI__TALLY_LOCK,         /* calls that could wait for a lock, and so on */
    SI__TALLY_NETWORK,
    SI__TALLY_SYSTEM,
    SI__TALLY_CHANNEL,
    SI__TALLIES = 16
} si__tally;

typedef struct si__tallies {
    _Atomic uint64_t of[SI__TALLIES]; /* P: stored by the slot's thread alone */
} si__tallies;

/* ---- The live table: sampled allocations that were not released yet ---- */

/* P writes bytes, objects and serial, then address; R reads serial and address before and after the rest. */
typedef struct si__live {
    _Atomic uint64_t address;     /* 0: free; 1: being written */
    _Atomic uint64_t serial;      /* grows by one with every sampled allocation of the process; never 0 in use */
    _Atomic int64_t bytes;        /* what it stands for */
    _Atomic uint64_t objects_q16; /* objects it stands for, in 1/65536 */
} si__live;

/* ---- Names: frames that have no address, such as Lua functions ---- */

typedef struct si__name {
    _Atomic uint64_t hash;  /* of all that follows; 0: free. Claims the entry */
    _Atomic uint32_t state; /* P: 2: the rest is there */
    uint32_t line;
    char function[80], file[96]; /* end with NUL */
} si__name;

#define SI__NAME_PC_BITS 0x80000000u
/* The "address" of a name: not one that the processor knows. */
static inline uint64_t si__name_pc(uint32_t index) {
    return (uint64_t)SI__NAME_PC_BITS << 32 | index;
}
static inline int si__pc_is_name(uint64_t pc) {
    return pc >> 32 == SI__NAME_PC_BITS;
}

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
    _Atomic uint64_t heap_bytes; /* allocated bytes between two samples, on average; 0: off */
    _Atomic uint64_t wait_ns; /* waited nanoseconds between two samples of a category and thread, on average; 0: off */
    _Atomic uint64_t call_ns; /* the same for handlers and calls: their stacks (their durations are all counted) */
} si__control;

#define SI__REGION_LAYOUT_BYTES 4096u

typedef struct si__region {
    /* The first page is written once, at creation. A reader in another process maps a private copy of it, so what
       si__region_map has checked stays true whatever the observed process does later. */
    uint64_t magic;
    uint32_t version;
    uint32_t header_bytes;
    uint64_t total_bytes;
    uint64_t slots_off, rings_off, instruments_off, buckets_off, waits_off, tallies_off, live_off, names_off,
        unwind_off;
    char layout_pad[SI__REGION_LAYOUT_BYTES - 96];
    /* From here on the page is shared. */
    _Atomic int32_t pid;                  /* P */
    _Atomic uint32_t inert;               /* P: 1 after the observed process closed its side */
    uint64_t start_time_ns;               /* P: CLOCK_REALTIME */
    si__cycle_moment cycle_first;         /* P: what its waits are timed with, and one moment before all of them */
    _Atomic uint32_t cycle_source;        /* P: si__cycle_source */
    si__control control;                  /* R */
    _Atomic uint32_t modules_wanted;      /* P: grows after dlopen/dlclose and when a pc had no module */
    _Atomic uint32_t modules_seen;        /* R: the value that the published tables answer */
    _Atomic uint32_t slots_used;          /* P: highest slot index ever used + 1 */
    _Atomic uint64_t threads_refused;     /* P: threads without a slot or timer */
    _Atomic uint64_t instruments_refused; /* P: names that found no room */
    _Atomic uint64_t live_refused;        /* P: sampled allocations that the live table had no room for */
    _Atomic uint64_t instrument_pages;    /* P: a bit for every page of instruments that one was named in: a reader
                                             that looks into a page of shared memory makes it take memory */
    _Atomic uint64_t names_refused;       /* P: names of frames that found no room */
    _Atomic uint32_t inherits; /* P: 1: until this process's modules change, its walks use the tables of the process
                                  that it was forked from, and need none here */
    /* P: a bit for every page of the live table that was ever written */
    _Atomic uint64_t live_chunks[SI__LIVE_CHUNKS / 64];
    si__collector_state collectors[SI__COLLECTOR_STATES]; /* P; index = place in the registry */
} si__region;

_Static_assert(offsetof(si__region, pid) == SI__REGION_LAYOUT_BYTES, "the layout has a page of its own");
_Static_assert(sizeof(si__instrument) == 256, "instruments share no cache line");
_Static_assert(sizeof(si__instrument) * SI__INSTRUMENTS_PER_PAGE == 4096 && SI__INSTRUMENT_PAGES == 64,
               "a bit for every page of instruments");

static inline si__slot *si__region_slot(si__region *r, uint32_t i) {
    return (si__slot *)(void *)((char *)r + r->slots_off) + i;
}
static inline char *si__region_ring(si__region *r, uint32_t i) {
    return (char *)r + r->rings_off + (uint64_t)i * SI__RING_BYTES;
}
static inline si__instrument *si__region_instrument(si__region *r, uint32_t i) {
    return (si__instrument *)(void *)((char *)r + r->instruments_off) + i;
}

static inline si__wait_now *si__region_wait(si__region *r, uint32_t i) {
    return (si__wait_now *)(void *)((char *)r + r->waits_off) + i;
}
static inline si__tallies *si__region_tallies(si__region *r, uint32_t i) {
    return (si__tallies *)(void *)((char *)r + r->tallies_off) + i;
}
static inline si__live *si__region_live(si__region *r, uint32_t i) {
    return (si__live *)(void *)((char *)r + r->live_off) + i;
}
static inline si__name *si__region_name(si__region *r, uint32_t i) {
    return (si__name *)(void *)((char *)r + r->names_off) + i;
}

/* The buckets of instrument i: SI__BUCKET_COUNT counts (native/bucket.h). */
static inline _Atomic uint32_t *si__region_buckets(si__region *r, uint32_t i) {
    return (_Atomic uint32_t *)(void *)((char *)r + r->buckets_off) + (size_t)i * SI__BUCKET_COUNT;
}

/* R: asks the probe for CPU samples at `mhz` thousandths of a hertz (0: off). A timer takes the new rate over at its
   next tick; a timer that is off is started by si__probe_retune (embedded) or by its slow tick (preloaded). */
static inline void si__region_set_cpu_mhz(si__region *r, uint32_t mhz) {
    atomic_store_explicit(&r->control.cpu_mhz, mhz, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->control.generation, 1, memory_order_release);
}

/* R: the same for the samplers that hooked calls feed. What is to be hooked or unhooked is seen to by
   si__probe_retune (embedded); a preloaded probe looks at the control words at every call. */
static inline void si__region_set_means(si__region *r, uint64_t heap_bytes, uint64_t wait_ns, uint64_t call_ns) {
    atomic_store_explicit(&r->control.heap_bytes, heap_bytes, memory_order_relaxed);
    atomic_store_explicit(&r->control.wait_ns, wait_ns, memory_order_relaxed);
    atomic_store_explicit(&r->control.call_ns, call_ns, memory_order_relaxed);
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

/* Of a region that another process created: its pages are no longer resident in this one until they are touched again.
   Nothing is lost. Any thread, also while others read it. */
void si__region_let_go(si__region *region);

/* Unmaps all of it but the arena of unwind tables, which is returned, and that again. Only system calls. */
void *si__region_unmap_but_tables(si__region *region);
void si__region_unmap_tables(void *tables);

#endif
