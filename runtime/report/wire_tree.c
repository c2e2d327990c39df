/* Call trees as they come over the wire; see wire_tree.h. The decoding itself is in tree_decode.c. */
#include "wire_tree.h"

#include <stdlib.h>

void si__wire_tree_free(si__wire_tree *tree) {
    if (!tree) return;
    free(tree->parents); /* frames lie behind them */
    free(tree->values);
    free(tree);
}

void si__wire_names_free(si__wire_names *names) {
    if (!names) return;
    for (size_t i = 0; i < names->repaired_count; i++) free(names->repaired[i]);
    free(names->repaired);
    free(names->texts);
    free(names->frames);
    free(names->input);
    free(names);
}
