/* Watches rules for changes. Loop thread only; stat and readdir of a handful of files. */
#include "rules_watch.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A file that is being written is looked at again soon, until two looks see the same. */
enum { INTERVAL_MS = 500, SETTLE_MS = 100 };

struct si__rules_watch {
    uv_timer_t timer;
    char *dir, *file;
    uint64_t reported, seen;
    void (*changed)(void *arg);
    void *arg;
};

/* FNV-1a (Fowler, Noll, Vo). */
static uint64_t mix(uint64_t hash, const void *data, size_t length) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < length; i++) hash = (hash ^ bytes[i]) * 0x100000001b3ull;
    return hash;
}

static uint64_t file_signature(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) return 1;
    uint64_t hash = mix(0xcbf29ce484222325ull, path, strlen(path));
    hash = mix(hash, &st.st_mtim, sizeof st.st_mtim);
    hash = mix(hash, &st.st_size, sizeof st.st_size);
    return mix(hash, &st.st_ino, sizeof st.st_ino);
}

/* The sum over all files does not depend on the order in which the directory lists them. */
static uint64_t signature(const si__rules_watch *w) {
    uint64_t sum = w->file ? file_signature(w->file) : 0;
    DIR *dir = w->dir ? opendir(w->dir) : NULL;
    if (!dir) return sum;
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        size_t length = strlen(entry->d_name);
        if (length < 4 || strcmp(entry->d_name + length - 4, ".lua") != 0 || entry->d_name[0] == '.') continue;
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", w->dir, entry->d_name);
        sum += file_signature(path);
    }
    closedir(dir);
    return sum;
}

static void on_timer(uv_timer_t *timer) {
    si__rules_watch *w = timer->data;
    uint64_t now = signature(w);
    int settled = now == w->seen;
    w->seen = now;
    uv_timer_start(timer, on_timer, settled ? INTERVAL_MS : SETTLE_MS, 0);
    if (!settled || now == w->reported) return;
    w->reported = now;
    w->changed(w->arg);
}

si__rules_watch *si__rules_watch_new(uv_loop_t *loop, const char *dir, const char *file, void (*changed)(void *arg),
                                     void *arg) {
    si__rules_watch *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->dir = dir ? strdup(dir) : NULL;
    w->file = file ? strdup(file) : NULL;
    if ((dir && !w->dir) || (file && !w->file)) {
        free(w->dir);
        free(w->file);
        free(w);
        return NULL;
    }
    w->changed = changed;
    w->arg = arg;
    w->seen = w->reported = signature(w);
    uv_timer_init(loop, &w->timer);
    w->timer.data = w;
    if (dir || file) uv_timer_start(&w->timer, on_timer, INTERVAL_MS, 0);
    return w;
}

static void on_closed(uv_handle_t *handle) {
    si__rules_watch *w = handle->data;
    free(w->dir);
    free(w->file);
    free(w);
}

void si__rules_watch_close(si__rules_watch *w) {
    if (w) uv_close((uv_handle_t *)&w->timer, on_closed);
}
