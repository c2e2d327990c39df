/*
 * Loads a rule set: every rule file in a state of its own (unit.c), then the cross-checks, then the reading into C.
 *
 * Called by script.c and check.c on the loop thread.
 */
#include "ruleset.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <si/si.h>

void si__hash_begin(si__hash *hash) {
    *hash = (si__hash){0xCBF29CE484222325u, 0x84222325CBF29CE4u};
}

/* Two differently mixed lanes. Not cryptographic: it tells sets and alerts apart. The length is mixed in, so that
   ("a", "bc") and ("ab", "c") differ. */
void si__hash_add(si__hash *hash, const void *data, size_t length) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < length; i++) {
        hash->a = (hash->a ^ bytes[i]) * 0x100000001B3u;
        hash->b = (hash->b + bytes[i]) * 0x9E3779B97F4A7C15u;
        hash->b ^= hash->b >> 29;
    }
    hash->a = (hash->a ^ length) * 0xFF51AFD7ED558CCDu;
    hash->b = (hash->b ^ length) * 0xC4CEB9FE1A85EC53u;
    hash->a ^= hash->a >> 33;
    hash->b ^= hash->b >> 31;
}

void si__hash_hex(const si__hash *hash, char out[33]) {
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)hash->a, (unsigned long long)hash->b);
}

/* ---- Problems ---------------------------------------------------------------------------------------------------- */

void si__ruleset_problem(si__ruleset *set, int warning, const char *file, int line, const char *message) {
    const si__source *source = si__sources_find(&set->sources, file);
    const char *path = source ? source->path : file, *kind = warning ? "warning: " : "";
    char number[24] = "";
    if (line > 0) snprintf(number, sizeof number, "%d:", line);
    if (!warning) set->error_count++; /* counted even if there is no memory left to say why */
    si__problem *problems = realloc(set->problems, (set->problem_count + 1) * sizeof *problems);
    if (!problems) return;
    set->problems = problems;
    si__problem made = {.warning = warning, .line = line, .path = strdup(path)};
    size_t n = strlen(message) + strlen(path) + 64;
    made.text = malloc(n);
    if (!made.path || !made.text) {
        free(made.path);
        free(made.text);
        return;
    }
    snprintf(made.text, n, "%s:%s %s%s", path, number, kind, message);
    problems[set->problem_count++] = made;
}

static int by_place(const void *a, const void *b) {
    const si__problem *x = a, *y = b;
    int order = strcmp(x->path, y->path);
    return order ? order : x->line - y->line;
}

/* Finds the "name.lua:LINE: " a Lua message starts with. Returns the source and what follows, or NULL. */
static const si__source *split_message(const si__ruleset *set, const char *message, int *line, const char **rest) {
    for (size_t i = 0; i < set->sources.count; i++) {
        const si__source *s = &set->sources.items[i];
        size_t n = strlen(s->name);
        if (strncmp(message, s->name, n) != 0 || message[n] != ':') continue;
        char *end;
        long number = strtol(message + n + 1, &end, 10);
        if (end == message + n + 1 || *end != ':') continue;
        *line = (int)number;
        *rest = end[1] == ' ' ? end + 2 : end + 1;
        return s;
    }
    return NULL;
}

int si__ruleset_show_path(const si__ruleset *set, const char *message, char *out, size_t out_bytes) {
    int line;
    const char *rest;
    const si__source *s = split_message(set, message, &line, &rest);
    if (s)
        snprintf(out, out_bytes, "%s:%d: %s", s->path, line, rest);
    else
        snprintf(out, out_bytes, "%s", message);
    return s != NULL;
}

/* A Lua error as a problem of its file: first line only, the traceback adds nothing here. */
void si__ruleset_lua_problem(si__ruleset *set, const si__source *source, char *message) {
    int line = 0;
    const char *rest = message;
    message[strcspn(message, "\n")] = '\0';
    const si__source *said = split_message(set, message, &line, &rest);
    si__ruleset_problem(set, 0, said ? said->name : source->name, line, said ? rest : message);
}

/* ---- Loading ---------------------------------------------------------------------------------------------------- */

/* Files with the library's own text share a unit; every other one has its own. 0 or SI_ENOMEM. */
static int make_units(si__ruleset *set) {
    size_t shared = SIZE_MAX;
    set->units = calloc(set->sources.count + 1, sizeof *set->units);
    if (!set->units) return SI_ENOMEM;
    for (size_t i = 0; i < set->sources.count; i++) {
        si__source *source = &set->sources.items[i];
        if (source->builtin && shared != SIZE_MAX) {
            source->unit = shared;
            continue;
        }
        source->unit = set->unit_count;
        if (source->builtin) shared = source->unit;
        si__unit *unit = si__unit_new(set, set->unit_count);
        if (!unit) return SI_ENOMEM;
        set->units[set->unit_count++] = unit;
        if (set->error_count) return 0; /* the language itself: once is enough */
    }
    return 0;
}

static void hash_sources(si__ruleset *set) {
    si__hash hash;
    si__hash_begin(&hash);
    for (size_t i = 0; i < set->sources.count; i++) {
        si__hash_add(&hash, set->sources.items[i].name, strlen(set->sources.items[i].name));
        si__hash_add(&hash, set->sources.items[i].text, set->sources.items[i].length);
    }
    si__hash_hex(&hash, set->hash);
}

static void find_doubles(si__ruleset *set) {
    for (size_t i = 0; i < set->name_count; i++)
        for (size_t k = i + 1; k < set->name_count; k++) {
            char text[256];
            if (!set->names[i].name || !set->names[k].name || strcmp(set->names[i].name, set->names[k].name) != 0)
                continue;
            const si__source *a = si__sources_find(&set->sources, set->names[i].file);
            const si__source *b = si__sources_find(&set->sources, set->names[k].file);
            size_t first = a <= b ? i : k, later = a <= b ? k : i;
            snprintf(text, sizeof text, "rule \"%s\": declared twice; the other one is at %s:%d", set->names[i].name,
                     set->names[first].file, set->names[first].line);
            si__ruleset_problem(set, 0, set->names[later].file, set->names[later].line, text);
        }
}

/* Every file runs, then what only the whole set can tell is checked, unit by unit; a set without errors is read. */
static void load_units(si__ruleset *set) {
    for (size_t i = 0; i < set->unit_count; i++) si__unit_load(set->units[i]);
    for (size_t i = 0; i < set->unit_count; i++) si__unit_step(set->units[i], si__ruleset_collect, set->units[i]);
    find_doubles(set);
    for (size_t i = 0; i < set->unit_count; i++) si__unit_step(set->units[i], si__ruleset_finish, set->units[i]);
    if (!set->error_count) si__ruleset_order(set);
}

si__ruleset *si__ruleset_new(si__source_list *sources, int partial) {
    si__ruleset *set = calloc(1, sizeof *set);
    if (!set) {
        si__sources_clear(sources);
        return NULL;
    }
    set->sources = *sources;
    *sources = (si__source_list){0};
    set->partial = partial;
    set->cadence_ref = LUA_NOREF;
    set->pool.cap_bytes = SI__SANDBOX_MEMORY_BYTES;
    hash_sources(set);
    if (make_units(set)) {
        si__ruleset_free(set);
        return NULL;
    }
    if (!set->error_count) load_units(set);
    set->loaded = 1;
    if (set->problem_count) qsort(set->problems, set->problem_count, sizeof *set->problems, by_place);
    return set;
}

void si__ruleset_free(si__ruleset *set) {
    if (!set) return;
    si__ruleset_clear_read(set);
    for (size_t i = 0; i < set->unit_count; i++) si__unit_free(set->units[i]);
    free(set->units);
    si__sources_clear(&set->sources);
    for (size_t i = 0; i < set->problem_count; i++) {
        free(set->problems[i].path);
        free(set->problems[i].text);
    }
    free(set->problems);
    free(set);
}
