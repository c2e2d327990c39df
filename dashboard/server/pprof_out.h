/* A call tree as pprof's format (gzip-compressed profile.proto), for downloads: names and lines, without addresses. */
#ifndef SI_SERVER_PPROF_OUT_H
#define SI_SERVER_PPROF_OUT_H

#include <stddef.h>
#include <stdint.h>

#include "../../runtime/profile/calltree.h"

typedef struct si__pprof_about {
    const char *type, *unit; /* of the values: "cpu", "ns" */
    int64_t start_ms;
    uint64_t duration_ns;
} si__pprof_about;

/* *out is malloc'ed. 0 or SI_ENOMEM. Any thread. */
int si__pprof_out(const si__calltree *tree, const si__pprof_about *about, char **out, size_t *length);

#endif
