/*
 * Keys of calls by the whole way to them: application, and each frame from the root on. They do not depend on the
 * store, so workers make them; the writer finds a stack that it has seen by one look into a table instead of one for
 * each of its frames. Keyed anew by every process: nobody outside can make two ways meet.
 */
#ifndef SI_SERVER_CALLPATH_H
#define SI_SERVER_CALLPATH_H

#include "../../runtime/report/report.h"

typedef struct si__callpath { /* 128 bits of a way */
    uint64_t a, b;
} si__callpath;

typedef struct si__callpaths { /* of a report's profiles: for the values of each of their wire trees, one after another
                                */
    si__callpath *keys;
    size_t count;
} si__callpaths;

/* Any thread. 0 or SI_ENOMEM; free with si__callpaths_free. Profiles that are no wire trees have none. */
int si__callpaths_make(si__callpaths *paths, int64_t app, const si__report *report);
void si__callpaths_free(si__callpaths *paths);

#endif
