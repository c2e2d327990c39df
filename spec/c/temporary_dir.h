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

/* A certificate for 127.0.0.1 and its key, made by openssl in dir. 0 when there is no openssl. Paths of 100 bytes. */
static inline int temporary_certificate(const char *dir, char *cert, char *key) {
    char command[600];
    snprintf(cert, 100, "%s/cert.pem", dir);
    snprintf(key, 100, "%s/key.pem", dir);
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=spec -addext subjectAltName=IP:127.0.0.1 "
             "-keyout %s -out %s 2>/dev/null",
             key, cert);
    return system(command) == 0;
}

#endif
