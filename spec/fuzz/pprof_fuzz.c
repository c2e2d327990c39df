/* Fuzzes the reader of pprof files that people and programs import. */
#include <stdint.h>
#include <stdlib.h>

#include "../../dashboard/server/pprof_in.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    si__pprof_in in;
    char why[200];
    int failed = si__pprof_read(data, size, &in, why, sizeof why);
    for (size_t i = 0; i < in.count; i++)
        if (!in.profiles[i].tree || !in.profiles[i].type[0]) abort();
    if (failed && in.count) abort();
    si__pprof_in_clear(&in);
    return 0;
}
