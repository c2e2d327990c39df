/*
 * Sources: the Lua text of a rule set, from the library itself and from a directory.
 *
 * Used while a set is loaded, on the loop thread (reads small files: the directory is local).
 */
#ifndef SI_SCRIPT_SOURCE_H
#define SI_SCRIPT_SOURCE_H

#include <stddef.h>

struct si__embedded_file {
    const char *name;
    const unsigned char *data;
    size_t size;
};
extern const struct si__embedded_file
    si__embedded_lua[]; /* ends with name NULL; "rules/health.lua", "lua/si/rule.lua" */

#define SI__SOURCE_FILE_BYTES (1u << 20)
#define SI__SOURCE_FILES 200

typedef struct si__source {
    char *name; /* "health.lua": what Lua calls the chunk, unique within the list */
    char *path; /* as shown to people */
    char *text;
    size_t length;
    int builtin; /* this very text comes with the library */
    size_t unit; /* number of the state it runs in; set by ruleset.c */
} si__source;

typedef struct si__source_list {
    si__source *items;
    size_t count;
} si__source_list;

/* The embedded defaults, and every *.lua of dir in place of or beside them, sorted by name. dir NULL: the defaults.
   0, SI_ENOMEM or SI_ERULES with "path: why" in error. */
int si__sources_read(si__source_list *list, const char *dir, char *error, size_t error_bytes);
/* Adds one text. 0 or SI_ENOMEM. */
int si__sources_add(si__source_list *list, const char *name, const char *path, const char *text, size_t length);
void si__sources_clear(si__source_list *list);
const si__source *si__sources_find(const si__source_list *list, const char *name); /* NULL: none */

int si__source_is_builtin(const si__source *source); /* its text is that of the embedded file of the same name */

/* A file of the language itself: "rule" for lua/si/rule.lua. NULL: none. */
const struct si__embedded_file *si__source_library(const char *module);

#endif
