/* A directory for one test, removed with all that is in it. */
#ifndef SPEC_TEMPORARY_DIR_H
#define SPEC_TEMPORARY_DIR_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int temporary_dir_remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

/* Writes the path into out (at least 64 bytes). */
static inline void temporary_dir_make(char *out) {
    strcpy(out, "/tmp/si-spec-XXXXXX");
    if (!mkdtemp(out)) abort();
}

static inline void temporary_dir_remove(const char *path) {
    nftw(path, temporary_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
