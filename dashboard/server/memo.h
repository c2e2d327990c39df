/*
 * What the writer remembers of what it wrote a moment ago, so that it need not ask or say it again for each report:
 * periods that are marked for a rollup, and the numbers of metrics' series. Writer thread only; to be forgotten
 * whenever a transaction was rolled back.
 */
#ifndef SI_SERVER_MEMO_H
#define SI_SERVER_MEMO_H

#include <stdint.h>

typedef struct si__memo si__memo;

typedef struct si__memo_period { /* profiles of a type that began within a rollup's finest period */
    int64_t app, t, marked_ms;
    uint64_t pending; /* profiles that came since it was last summed up */
    char type[64];
} si__memo_period;

si__memo *si__memo_new(void); /* NULL: out of memory */
void si__memo_free(si__memo *memo);
void si__memo_forget(si__memo *memo);

/* The period's place, with marked_ms 0 when it was not there. Valid until the next call. */
si__memo_period *si__memo_find(si__memo *memo, int64_t app, const char *type, int64_t t);
/* The one with the most pending, at least `least`; NULL: none. */
si__memo_period *si__memo_fullest(si__memo *memo, uint64_t least);

int64_t si__memo_series(const si__memo *memo, int64_t source, const char *name); /* 0: not known */
void si__memo_keep_series(si__memo *memo, int64_t source, const char *name, int64_t id);

#endif
