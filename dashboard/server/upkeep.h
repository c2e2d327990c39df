/* What the writer does when it is idle: rollups, retention, giving back disk space. One small step a call. */
#ifndef SI_SERVER_UPKEEP_H
#define SI_SERVER_UPKEEP_H

#include "places.h"
#include "writer.h"

typedef struct si__upkeep {
    si__places *places; /* borrowed */
    const char *data_dir;
    int64_t retention_ms, grace_ms;
    uint64_t max_bytes;
    int64_t next_ms;      /* when the next round of retention starts; 0: at once */
    int64_t series_after; /* how far this round has come */
    int64_t cut_ms;       /* of this round */
    int64_t app_after;    /* the same, of profiles */
    char type_after[64];
    int64_t ledger_app; /* the same, of the ledger */
    uint8_t ledger_id[16];
    int ledger_steps;
    int64_t sweep_ms;        /* at least so long between two sweeps; see sweep.h */
    int64_t swept_ms;        /* when the last one ended */
    uint64_t deleted;        /* profiles, since then */
    struct si__sweep *sweep; /* under way; NULL: none */
    int phase;
    int hurry; /* there is too much: the next round follows at once */
} si__upkeep;

int si__upkeep_step(si__tx *tx, si__upkeep *upkeep); /* 1: there is more to do; 0: not now; or SI_E* */

/* Bytes of the file that hold something, and bytes of free pages in it. */
void si__upkeep_size(si__db *db, uint64_t *used_bytes, uint64_t *free_bytes);

#endif
