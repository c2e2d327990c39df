/* The types of profiles; see kind.h. */
#include "kind.h"

#include <stddef.h>
#include <string.h>

static const si__kind kinds[] = {
    {"cpu", "ns", "samples", SI__FLOW},          {"wall", "ns", "samples", SI__FLOW},
    {"heap", "bytes", "objects", SI__LEVEL},     {"alloc", "bytes", "objects", SI__FLOW},
    {"lock", "ns", "waits", SI__FLOW},           {"network", "ns", "calls", SI__FLOW},
    {"system", "ns", "calls", SI__FLOW},         {"channel", "ns", "waits", SI__FLOW},
    {"http_handler", "ns", "calls", SI__FLOW},   {"http_client", "ns", "calls", SI__FLOW},
    {"database", "ns", "calls", SI__FLOW},       {"segment", "ns", "calls", SI__FLOW},
    {"error", "errors", "errors", SI__FLOW},     {"lua", "ns", "samples", SI__FLOW},
    {"lua_heap", "bytes", "objects", SI__LEVEL},
};

static const si__kind unknown = {"", "", "samples", SI__FLOW};

const si__kind *si__kind_of(const char *type) {
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (!strcmp(kinds[i].type, type)) return &kinds[i];
    return &unknown;
}

const si__kind *si__kinds(int *count) {
    *count = (int)(sizeof kinds / sizeof kinds[0]);
    return kinds;
}
