/* A merged profile as a tree with names, ready to be written out: for the page, for downloads, for movers. */
#ifndef SI_SERVER_TREE_H
#define SI_SERVER_TREE_H

#include "request.h"

typedef struct si__tree {
    si__merge merge;
    si__branch *branches; /* callers first; index 0 is the root */
    size_t count;
} si__tree;

/* What a request asks for: at=ID, or from..to merged. `type` "": errors of `group`. Not 0: answered with an error
 * already. */
int si__tree_read(si__request *request, const si__range *range, const char *type, int64_t at, si__tree *tree);
int si__tree_of(si__reader *reader, si__tree *tree); /* makes the branches of tree->merge. 0 or SI_E* */
void si__tree_clear(si__tree *tree);

/* at=ID as a number. 0 when absent; negative: answered with an error already. */
int64_t si__tree_id(si__request *request, const char *name);

#endif
