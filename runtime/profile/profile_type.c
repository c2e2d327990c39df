/* The table of profile types: see profile_type.h. pprof names are those that Go's runtime and its viewers use. */
#include "profile_type.h"

#include <string.h>

static const si__profile_kind kinds[SI__PROFILE_TYPES] = {
    {"cpu", "CPU", "cpu", "ns", 0, 1000, "cpu", "nanoseconds", "samples"},
    {"heap", "live heap", "heap", "bytes", 1, 1, "inuse_space", "bytes", "inuse_objects"},
    {"alloc", "allocation", "heap", "bytes", 0, 1, "alloc_space", "bytes", "alloc_objects"},
    {"lock", "lock wait", "lock", "ns", 0, 1000, "delay", "nanoseconds", "contentions"},
    {"network", "network wait", "wait", "ns", 0, 1000, "delay", "nanoseconds", "waits"},
    {"system", "system wait", "wait", "ns", 0, 1000, "delay", "nanoseconds", "waits"},
    {"channel", "channel wait", "wait", "ns", 0, 1000, "delay", "nanoseconds", "waits"},
};

const si__profile_kind *si__profile_kind_of(si__profile_type type) {
    return &kinds[type];
}

int si__profile_type_named(const char *name) {
    for (int i = 0; i < SI__PROFILE_TYPES; i++)
        if (strcmp(kinds[i].name, name) == 0) return i;
    return -1;
}
