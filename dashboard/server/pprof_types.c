/* What the value types of a pprof file are here; see pprof_types.h. */
#include "pprof_types.h"

#include <stdio.h>
#include <string.h>

static void clean(const char *text, char *out, size_t bytes) {
    size_t used = 0;
    for (; *text && used + 1 < bytes; text++) {
        char c = *text;
        int plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
        out[used++] = plain ? c : '_';
    }
    out[used] = '\0';
}

void si__pprof_types_add(si__pprof_types *types, const char *name, const char *unit) {
    static const struct {
        const char *given, *unit;
        int64_t factor;
    } units[] = {{"nanoseconds", "ns", 1},      {"ns", "ns", 1},
                 {"microseconds", "ns", 1000},  {"milliseconds", "ns", 1000000},
                 {"seconds", "ns", 1000000000}, {"bytes", "bytes", 1},
                 {"kilobytes", "bytes", 1024},  {"megabytes", "bytes", 1048576}};
    if (types->count == SI__PPROF_TYPES) return;
    si__pprof_type *type = &types->items[types->count];
    *type = (si__pprof_type){.factor = 1, .value_from = types->count, .count_from = -1};
    types->count++;
    clean(*name ? name : "samples", type->given, sizeof type->given);
    snprintf(type->name, sizeof type->name, "%s", !strcmp(type->given, "inuse_space") ? "heap" : type->given);
    clean(unit, type->unit, sizeof type->unit);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(units[i].given, unit) != 0) continue;
        snprintf(type->unit, sizeof type->unit, "%s", units[i].unit);
        type->factor = units[i].factor;
    }
}

static int is_count(const si__pprof_type *type) {
    return !strcmp(type->unit, "count");
}

/* "inuse_objects" counts "inuse_space"; one count alone counts everything. */
static int count_for(const si__pprof_types *types, const si__pprof_type *type) {
    int only = -1, counts = 0;
    const char *end = strrchr(type->given, '_');
    size_t stem = end ? (size_t)(end - type->given) + 1 : 0;
    for (size_t i = 0; i < types->count; i++) {
        if (!is_count(&types->items[i])) continue;
        if (stem && !strncmp(types->items[i].given, type->given, stem)) return (int)i;
        only = (int)i;
        counts++;
    }
    return counts == 1 ? only : -1;
}

void si__pprof_types_pair(si__pprof_types *types) {
    si__pprof_types kept = {0};
    for (size_t i = 0; i < types->count; i++) {
        if (is_count(&types->items[i])) continue;
        kept.items[kept.count] = types->items[i];
        kept.items[kept.count++].count_from = count_for(types, &types->items[i]);
    }
    for (size_t i = 0; i < types->count && kept.count == 0; i++) types->items[i].count_from = (int)i; /* goroutines */
    if (kept.count) *types = kept;
}
