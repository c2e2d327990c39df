/*
 * Reads the Lua text of a rule set. Called by ruleset.c on the loop thread.
 */
#include "source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../report/utf8.h"

#include <si/si.h>

void si__sources_clear(si__source_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].name);
        free(list->items[i].path);
        free(list->items[i].text);
    }
    free(list->items);
    *list = (si__source_list){0};
}

const si__source *si__sources_find(const si__source_list *list, const char *name) {
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].name, name) == 0) return &list->items[i];
    return NULL;
}

int si__sources_add(si__source_list *list, const char *name, const char *path, const char *text, size_t length) {
    si__source made = {strdup(name), strdup(path), malloc(length + 1), length, 0, 0};
    si__source *known = (si__source *)si__sources_find(list, name);
    si__source *items = known ? list->items : realloc(list->items, (list->count + 1) * sizeof *items);
    if (items) list->items = items;
    if (!items || !made.name || !made.path || !made.text) {
        free(made.name);
        free(made.path);
        free(made.text);
        return SI_ENOMEM;
    }
    memcpy(made.text, text, length);
    made.text[length] = '\0';
    if (known) {
        free(known->name);
        free(known->path);
        free(known->text);
        *known = made;
    } else {
        list->items[list->count++] = made;
    }
    return 0;
}

const struct si__embedded_file *si__source_library(const char *module) {
    char name[64];
    snprintf(name, sizeof name, "lua/si/%s.lua", module);
    for (const struct si__embedded_file *f = si__embedded_lua; f->name; f++)
        if (strcmp(f->name, name) == 0) return f;
    return NULL;
}

int si__source_is_builtin(const si__source *source) {
    char name[80];
    snprintf(name, sizeof name, "rules/%.60s", source->name);
    for (const struct si__embedded_file *f = si__embedded_lua; f->name; f++)
        if (strcmp(f->name, name) == 0) return f->size == source->length && memcmp(f->data, source->text, f->size) == 0;
    return 0;
}

static int add_defaults(si__source_list *list) {
    int status = 0;
    for (const struct si__embedded_file *f = si__embedded_lua; f->name && !status; f++)
        if (strncmp(f->name, "rules/", 6) == 0)
            status = si__sources_add(list, f->name + 6, f->name, (const char *)f->data, f->size);
    return status;
}

/* Names that editors leave behind start with a dot or end otherwise. Long ones would be cut in Lua's messages. */
static int is_rule_name(const char *name) {
    size_t n = strlen(name);
    return name[0] != '.' && n > 4 && strcmp(name + n - 4, ".lua") == 0;
}

/* What Lua cannot say well: a mark at the beginning that some editors write is skipped, and text must be UTF-8, for it
   goes into messages and reports. Returns where the text begins, or NULL with the error. */
static const char *readable(const char *path, const char *text, size_t length, char *error, size_t error_bytes) {
    uint32_t code;
    int line = 1;
    const char *begin = length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? text + 3 : text;
    if (begin < text + length && *begin == '\x1b') return begin; /* bytecode: refused as such */
    for (const char *at = begin, *end = text + length; at < end;) {
        size_t n = *at ? si__utf8_decode(at, (size_t)(end - at), &code) : 0;
        if (!n) {
            snprintf(error, error_bytes, "%s:%d: not UTF-8 text (byte 0x%02X); save the file as UTF-8", path, line,
                     (unsigned char)*at);
            return NULL;
        }
        line += *at == '\n';
        at += n;
    }
    return begin;
}

static int add_file(si__source_list *list, const char *name, const char *path, char *error, size_t error_bytes) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        snprintf(error, error_bytes, "%s: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return SI_ERULES;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > (off_t)SI__SOURCE_FILE_BYTES || strlen(name) > 48) {
        snprintf(error, error_bytes, "%s: %s", path,
                 !S_ISREG(st.st_mode) ? "not a regular file"
                 : strlen(name) > 48  ? "name longer than 48 bytes"
                                      : "larger than 1 MiB");
        close(fd);
        return SI_ERULES;
    }
    size_t size = (size_t)st.st_size, have = 0;
    char *text = malloc(size + 1);
    while (text && have < size) {
        ssize_t n = read(fd, text + have, size - have);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        have += (size_t)n;
    }
    close(fd);
    const char *begin = text ? readable(path, text, have, error, error_bytes) : NULL;
    int status = !text    ? SI_ENOMEM
                 : !begin ? SI_ERULES
                          : si__sources_add(list, name, path, begin, have - (size_t)(begin - text));
    free(text);
    return status;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const si__source *)a)->name, ((const si__source *)b)->name);
}

static int add_directory(si__source_list *list, const char *dir, char *error, size_t error_bytes) {
    DIR *d = opendir(dir);
    if (!d) {
        snprintf(error, error_bytes, "%s: %s", dir, strerror(errno));
        return SI_ERULES;
    }
    int status = 0;
    for (struct dirent *e; !status && (e = readdir(d));) {
        char path[PATH_MAX];
        if (!is_rule_name(e->d_name)) continue;
        int n = snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (n < 0 || (size_t)n >= sizeof path || list->count >= SI__SOURCE_FILES) {
            snprintf(error, error_bytes, "%s: %s", dir,
                     list->count >= SI__SOURCE_FILES ? "more than 200 files" : "path too long");
            status = SI_ERULES;
        } else {
            status = add_file(list, e->d_name, path, error, error_bytes);
        }
    }
    closedir(d);
    return status;
}

int si__sources_read(si__source_list *list, const char *dir, char *error, size_t error_bytes) {
    *list = (si__source_list){0};
    if (error_bytes) error[0] = '\0';
    int status = add_defaults(list);
    if (!status && dir) status = add_directory(list, dir, error, error_bytes);
    if (status) {
        if (status == SI_ENOMEM) snprintf(error, error_bytes, "out of memory");
        si__sources_clear(list);
        return status;
    }
    if (list->count) qsort(list->items, list->count, sizeof *list->items, by_name);
    for (size_t i = 0; i < list->count; i++) list->items[i].builtin = si__source_is_builtin(&list->items[i]);
    return 0;
}
