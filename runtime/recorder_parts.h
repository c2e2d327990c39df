/* The recorder's inside, shared by recorder.c (what comes in) and recorder_cut.c (what goes out). */
#ifndef SI_RECORDER_PARTS_H
#define SI_RECORDER_PARTS_H

#include "heap_live.h"
#include "profile/profile.h"
#include "profile/profile_ring.h"
#include "profile/stack.h"
#include "recorded.h"
#include "recorder.h"

enum { SI__ENDED_FOCUSES = 8 };

typedef struct si__focus {
    si__profile_type type;
    si__profile *profile; /* NULL: none */
    char trigger[64], workload[64];
    uint64_t start_ns, end_ns, before_ns;
} si__focus;

typedef struct si__recorded_type {
    si__profile *now;       /* since the last cut; of a level: filled at the cut */
    si__profile *whole;     /* NULL: not kept */
    si__profile_ring *ring; /* the last minutes; NULL for a level */
    si__focus focus;        /* the one that runs */
} si__recorded_type;

struct si__source {
    struct si__source *next;
    si__heap_live *live; /* NULL: nothing was sampled yet */
    si__region *region;
};

typedef struct si__custom {
    char name[SI__NAME_BYTES];
    int counter;
    double value;
} si__custom;

enum { SI__CUSTOM_METRICS = 512 };

struct si__recorder {
    si__stacks *stacks;
    double collect_above; /* fill at which the stack table is worth a collection */
    si__recorded_type types[SI__PROFILE_TYPES];
    unsigned enabled; /* bits: types that reports have */
    si__source *sources;
    si__profile *left[2]; /* live heaps of processes that ended lately, the newer first; NULL: none */
    uint64_t left_since_ns;
    si__focus ended[SI__ENDED_FOCUSES]; /* for the next cut, oldest first */
    size_t ended_count;
    si__recorded_errors errors;
    si__recorded_errors whole_errors; /* of the whole run, if that is kept */
    int keeps_whole;
    uint32_t last_node;                    /* of the last event that had a stack */
    int64_t crash;                         /* signal of the last crash that nobody survived; 0: none */
    int64_t taken_back;                    /* of one that was taken back last; 0: none */
    char crash_group[SI__NAME_BYTES + 32]; /* of either */
    uint32_t crash_node;
    si__recorded_segments segments;
    si__custom customs[SI__CUSTOM_METRICS];
    size_t custom_count;
    si__rename_fn rename;
    void *rename_arg;
    uint64_t start_ns, metrics_ns;
    uint64_t lost, events;
};

uint64_t si__recorder_clock_ns(void); /* CLOCK_MONOTONIC */
void si__recorder_forget_ended(si__recorder *recorder);
void si__recorder_take_heap(const si__recorder *recorder, si__profile *into); /* of every process observed now */
extern const double si__recorder_collect_at;

#endif
