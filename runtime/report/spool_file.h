/*
 * The spool's files: how a record looks on disk, how a file is scanned whatever happened to it, and the system calls.
 *
 * A record is 64 bytes of header (little-endian), then the payload:
 *   0 magic "siR1"  4 payload length  8 crc32c of bytes 4..7 and of all from 12 on  12 class  16 made_ms  24 agent  40
 * boot  56 sequence Used by spool.c alone; blocking; any one thread.
 */
#ifndef SI_REPORT_SPOOL_FILE_H
#define SI_REPORT_SPOOL_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "spool.h"

#define SI__SPOOL_HEAD_BYTES 64
#define SI__SPOOL_FILE_BYTES ((size_t)4 << 20)
#define SI__SPOOL_MAX_PAYLOAD (SI__SPOOL_FILE_BYTES - SI__SPOOL_HEAD_BYTES)

typedef struct si__spool_found { /* an intact record in a scanned buffer */
    si__report_id id;
    si__spool_class klass;
    int64_t made_ms;
    size_t offset;          /* of its header */
    const uint8_t *payload; /* in the buffer */
    size_t length;          /* of the payload */
} si__spool_found;

void si__spool_head_write(uint8_t head[SI__SPOOL_HEAD_BYTES], const si__spool_found *record);

/* The record at `offset`: 1, or 0 when there is no intact one. */
int si__spool_head_read(const uint8_t *data, size_t length, size_t offset, si__spool_found *out);

/* Calls found for each intact record in order, and damaged for each stretch of bytes between them. */
void si__spool_scan(const uint8_t *data, size_t length, void (*found)(void *arg, const si__spool_found *record),
                    void (*damaged)(void *arg, size_t offset, size_t bytes), void *arg);

/* Paths are whole; all return 0 or a negative errno. */
int si__spool_file_read(const char *path, size_t limit, uint8_t **out, size_t *length);
int si__spool_file_read_at(const char *path, size_t offset, uint8_t *out, size_t length); /* all of it, or -EIO */

/* Appends n pieces at `offset`, which must be where the file ends (0: it must not exist yet), and syncs the file, and
   for a new file its directory. When that fails, the file is cut back as far as the system allows. */
typedef struct si__spool_piece {
    const uint8_t *data;
    size_t length;
} si__spool_piece;
int si__spool_file_append(const char *dir, const char *path, size_t offset, const si__spool_piece *pieces, size_t n);

/* Makes dir (0700) if missing; it must be a directory of our own and no link. Returns 0 or a negative errno. */
int si__spool_dir_make(const char *dir);
/* Takes the lock file. Returns its descriptor, -EWOULDBLOCK when another process has it, or a negative errno. */
int si__spool_dir_lock(const char *path);
int64_t si__spool_dir_free_bytes(const char *dir); /* for unprivileged use; negative errno */

#endif
