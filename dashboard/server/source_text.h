/*
 * The text of source files: what was uploaded for an application, or what lies under the directory of --sources.
 *
 * Names come from debug information and from requests, so they are text to distrust: a path is split into its parts,
 * parts that lead upwards are resolved in the text alone, and under the directory no symbolic link is followed.
 */
#ifndef SI_SERVER_SOURCE_TEXT_H
#define SI_SERVER_SOURCE_TEXT_H

#include "request.h"

#define SI__SOURCE_BYTES ((size_t)1 << 20) /* of one file */
#define SI__SOURCE_PATH 1024

typedef struct si__source_text {
    char *text; /* owned, NUL-terminated */
    size_t length;
    char path[SI__SOURCE_PATH]; /* as it was uploaded, or under the directory */
    char version[128];          /* of the upload; "" for the directory */
    const char *origin;         /* "upload", "directory" */
} si__source_text;

/* path without ".", ".." and empty parts, relative. 0, or SI_EINVAL: empty, too long, control bytes. */
int si__source_path(const char *path, char out[SI__SOURCE_PATH]);

/* The text of a file as debug information names it: the longest end of its path that is known, an upload of `version`
   before others, uploads before the directory. 0, SI_ENOTFOUND, SI_ELIMIT (larger than SI__SOURCE_BYTES), SI_EFORMAT
   (not text) or SI_E*. */
int si__source_text_find(si__request *request, int64_t app, const char *version, const char *file,
                         si__source_text *out);
void si__source_text_clear(si__source_text *text);

#endif
