/*
 * What a page about profiles looks at: one profile, or a merge of a range, a source, a version; and what it is compared
 * with. docs/api.md calls them SELECTION and BASE. Workers' threads.
 */
#ifndef SI_SERVER_SELECTION_H
#define SI_SERVER_SELECTION_H

#include "snapshot.h"
#include "tree.h"

typedef struct si__selection { /* strings are borrowed from the request */
    si__range range;
    int64_t at; /* one profile; 0: the range */
    const char *type, *version;
    const char *snapshot;   /* "": none; else what it keeps, whatever the range says */
    si__snapshot_part part; /* of the snapshot */
    int snapshot_has_base;
    char snapshot_type[64];
} si__selection;

/* From app, env, type, from, to, src, version, at, snapshot. Not 0: answered with an error already. */
int si__selection_of(si__request *request, si__selection *selection);

const char *si__selection_type(const si__selection *selection); /* of the profiles; borrowed */
/* Fills the rest of a selection with an application and a snapshot. 0, SI_ENOTFOUND or SI_E*. */
int si__selection_snapshot(si__reader *reader, si__selection *selection);

/* From base, base_from, base_to, base_src, base_version: what is absent is as in the selection. *has_base 0: none of
 * them was said. Not 0: answered already. */
int si__selection_base(si__request *request, const si__selection *selection, si__selection *base, int *has_base);

/* Adds up what is selected. 0, SI_ENOTFOUND (the one profile is gone) or SI_E*; nothing is answered. */
int si__selection_merge(si__reader *reader, const si__selection *selection, si__merge *merge);

/* The same as a tree; not 0: answered with an error that names the parameter `at`. The tree is then empty. */
int si__selection_tree(si__request *request, const si__selection *selection, si__tree *tree);
/* And for a base, whose profile was asked for with `base`. */
int si__selection_base_tree(si__request *request, const si__selection *base, si__tree *tree);

/* How values of a base are to be compared with those of the selection. */
typedef struct si__comparison {
    double factor;    /* what base values are multiplied by */
    const char *mode; /* "absolute", "normalized" */
    const char *by;   /* "window", "duration", "profiles", "level", "none" */
    char text[200];   /* a sentence */
} si__comparison;
void si__comparison_of(const si__selection *selection, const si__merge *merge, const si__selection *base,
                       const si__merge *base_merge, si__comparison *out);
void si__comparison_write(si__json_writer *json, const si__comparison *comparison);

/* Answers with the tree of a selection as /profiles/tree does. base NULL: none; with_trend: with that of its top calls.
 */
void si__tree_answer(si__request *request, const si__selection *selection, const si__selection *base, int with_trend);

/* "profiles", "samples", "total", "duration_ms", "cores", "start_ms", "end_ms" of a merge. */
void si__merge_write(si__json_writer *json, const si__merge *merge);
/* The unit of a profile type; "" when the type is unknown. Borrowed until the statement runs again. */
const char *si__type_unit(si__reader *reader, int64_t app, const char *type);

#endif
