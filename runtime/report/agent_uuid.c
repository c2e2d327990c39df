/*
 * The agent's uuid: made once, kept as hex in state_dir/agent-id, so that a dashboard knows an agent across restarts.
 *
 * Blocking (a file, synced once); called when a runtime opens.
 */
#include <errno.h>
#include <fcntl.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spool.h"
#include "spool_file.h"

enum { HEX_BYTES = 33 }; /* 32 digits and a newline */

static int make_random(uint8_t uuid[16]) {
    size_t got = 0;
    while (got < 16) {
        ssize_t n = getrandom(uuid + got, 16 - got, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return SI_EIO;
        got += (size_t)n;
    }
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* version 4, variant 1 of RFC 9562 */
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
    return SI_OK;
}

static int read_uuid(const char *path, uint8_t uuid[16]) {
    uint8_t *text;
    size_t length;
    if (si__spool_file_read(path, 64, &text, &length)) return 0;
    int ok = length == HEX_BYTES && text[HEX_BYTES - 1] == '\n';
    for (int i = 0; ok && i < HEX_BYTES - 1; i++) {
        const char *digits = "0123456789abcdef", *digit = text[i] ? strchr(digits, text[i]) : NULL;
        if (!digit) ok = 0;
        if (digit) uuid[i / 2] = (uint8_t)(uuid[i / 2] << 4 | (digit - digits));
    }
    free(text);
    return ok;
}

/* Linked into place whole: a reader sees all of it or nothing, and of two makers one wins. */
static int keep_uuid(const char *state_dir, const char *path, const uint8_t uuid[16]) {
    char hex[HEX_BYTES + 1], *temporary;
    for (int i = 0; i < 16; i++) snprintf(hex + 2 * i, 3, "%02x", uuid[i]);
    hex[32] = '\n';
    if (mkdir(state_dir, 0700) && errno != EEXIST) return -errno;
    if (asprintf(&temporary, "%s.%ld", path, (long)getpid()) < 0) return -ENOMEM;
    unlink(temporary);
    si__spool_piece piece = {(const uint8_t *)hex, HEX_BYTES};
    int status = si__spool_file_append(state_dir, temporary, 0, &piece, 1);
    if (!status && link(temporary, path)) status = -errno;
    unlink(temporary);
    free(temporary);
    return status;
}

int si__agent_uuid(const char *state_dir, uint8_t uuid[16]) {
    char *path;
    if (!state_dir || !*state_dir) return make_random(uuid);
    if (asprintf(&path, "%s/agent-id", state_dir) < 0) return SI_ENOMEM;
    int status = SI_OK;
    if (!read_uuid(path, uuid)) {
        status = make_random(uuid);
        int kept = status ? 0 : keep_uuid(state_dir, path, uuid);
        if (kept == -EEXIST && !read_uuid(path, uuid)) { /* not another maker's but a damaged one: replaced */
            unlink(path);
            kept = keep_uuid(state_dir, path, uuid);
        }
        if (!status && kept && kept != -EEXIST) status = SI_EIO;
    }
    free(path);
    return status;
}
