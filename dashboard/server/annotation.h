/*
 * Annotations: marks on the timeline of an application, such as deploys. A new application version draws one by itself;
 * others come from people and from the API. They go with retention.
 */
#ifndef SI_SERVER_ANNOTATION_H
#define SI_SERVER_ANNOTATION_H

#include "store.h"

typedef struct si__annotation { /* texts are cut to: kind 32, text 500, link 1000, author 200 bytes */
    int64_t id;                 /* out, when made */
    int64_t app, time_ms;
    const char *kind;   /* "deploy", "note", or what the API was given */
    const char *text;   /* what happened; not empty */
    const char *link;   /* URL or "": text from outside, to be checked by who shows it */
    const char *author; /* "" for marks that a new version drew */
} si__annotation;

/* A writer's `apply`; its argument is an si__annotation. 0, SI_EINVAL (no text) or SI_E*. */
int si__annotation_make_apply(si__tx *tx, void *annotation);

/* A writer's `apply`; its argument is an si__annotation with `app` and `id`. 0, SI_ENOTFOUND or SI_E*. */
int si__annotation_delete_apply(si__tx *tx, void *annotation);

typedef int (*si__annotation_each)(void *arg, const si__annotation *row); /* texts borrowed; not 0: stop */

/* By time, the newest `limit` of from..to. 0, what `each` returned, or SI_E*. */
int si__read_annotations(si__reader *reader, const si__range *range, int64_t limit, si__annotation_each each,
                         void *arg);

#endif
