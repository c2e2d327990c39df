/* The text of source files; see source_text.h. Workers' threads. */
#include "source_text.h"

#include <errno.h>
#include <fcntl.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "key.h"
#include "server.h"

int si__source_path(const char *path, char out[SI__SOURCE_PATH]) {
    size_t used = 0;
    out[0] = '\0';
    for (const unsigned char *c = (const unsigned char *)path; *c; c++)
        if (*c < ' ' || *c == 0x7f) return SI_EINVAL;
    while (*path) {
        size_t length = strcspn(path, "/");
        if (length == 2 && path[0] == '.' && path[1] == '.') {
            while (used && out[used - 1] != '/') used--;
            if (used) used--;
        } else if (length && !(length == 1 && path[0] == '.')) {
            if (used + length + 2 > SI__SOURCE_PATH) return SI_EINVAL;
            if (used) out[used++] = '/';
            memcpy(out + used, path, length);
            used += length;
        }
        out[used] = '\0';
        path += length + (path[length] == '/');
    }
    return used ? SI_OK : SI_EINVAL;
}

void si__source_text_clear(si__source_text *text) {
    free(text->text);
    *text = (si__source_text){0};
}

/* ---- Uploads ---- */

static int unpack(const void *body, size_t length, si__source_text *out) {
    unsigned long long size = ZSTD_getFrameContentSize(body, length);
    if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || size > SI__SOURCE_BYTES)
        return SI_EFORMAT;
    out->text = malloc((size_t)size + 1);
    if (!out->text) return SI_ENOMEM;
    out->length = ZSTD_decompress(out->text, (size_t)size, body, length);
    if (ZSTD_isError(out->length)) return SI_EFORMAT;
    out->text[out->length] = '\0';
    return SI_OK;
}

/* Columns: body, path, version. */
static int take_upload(si__db *db, sqlite3_stmt *read, si__source_text *out) {
    int row = si__db_step(db, read);
    if (row != 1) return row ? row : SI_ENOTFOUND;
    snprintf(out->path, sizeof out->path, "%s", si__db_text(read, 1));
    snprintf(out->version, sizeof out->version, "%s", si__db_text(read, 2));
    out->origin = "upload";
    int failed = unpack(sqlite3_column_blob(read, 0), (size_t)sqlite3_column_bytes(read, 0), out);
    sqlite3_reset(read);
    return failed;
}

static int find_upload(si__reader *reader, int64_t app, const char *version, const char *path, si__source_text *out) {
    si__db *db = &reader->db;
    for (const char *end = path; end; end = strchr(end, '/') ? strchr(end, '/') + 1 : NULL) {
        sqlite3_stmt *read = si__db_prepare(db, "SELECT body,path,version FROM source_file WHERE app=?1 AND path=?2"
                                                " ORDER BY version=?3 DESC,created_ms DESC LIMIT 1");
        int failed = take_upload(db, si__db_bind(read, "iss", app, end, version), out);
        if (failed != SI_ENOTFOUND) return failed;
    }
    sqlite3_stmt *longer = /* uploaded from further up than debug information says */
        si__db_prepare(db, "SELECT body,path,version FROM source_file WHERE app=?1"
                           " AND substr(path,-length(?2)-1)='/'||?2"
                           " ORDER BY version=?3 DESC,length(path),created_ms DESC LIMIT 1");
    return take_upload(db, si__db_bind(longer, "iss", app, path, version), out);
}

/* ---- The directory ---- */

/* Opens path below a directory part by part. Symbolic links lead nowhere. -1: there is no such file. */
static int open_below(int dir, const char *path) {
    int at = fcntl(dir, F_DUPFD_CLOEXEC, 0);
    while (at >= 0 && *path) {
        char part[SI__SOURCE_PATH];
        size_t length = strcspn(path, "/");
        int last = path[length] == '\0';
        snprintf(part, sizeof part, "%.*s", (int)length, path);
        int next =
            openat(at, part, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | (last ? 0 : O_DIRECTORY));
        close(at);
        at = next;
        path += length + !last;
    }
    return at;
}

static int read_file(int fd, si__source_text *out) {
    struct stat file;
    if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) return SI_ENOTFOUND;
    if (file.st_size > (off_t)SI__SOURCE_BYTES) return SI_ELIMIT;
    size_t room = (size_t)file.st_size;
    out->text = malloc(room + 1);
    if (!out->text) return SI_ENOMEM;
    out->length = 0;
    while (out->length < room) {
        ssize_t got = read(fd, out->text + out->length, room - out->length);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        out->length += (size_t)got;
    }
    out->text[out->length] = '\0';
    return SI_OK;
}

static int find_below(int dir, const char *prefix, const char *path, si__source_text *out) {
    for (const char *end = path; end; end = strchr(end, '/') ? strchr(end, '/') + 1 : NULL) {
        char whole[2 * SI__SOURCE_PATH];
        snprintf(whole, sizeof whole, "%s%s%s", prefix, *prefix ? "/" : "", end);
        int fd = open_below(dir, whole);
        if (fd < 0) continue;
        int failed = read_file(fd, out);
        close(fd);
        if (failed == SI_ENOTFOUND) continue;
        snprintf(out->path, sizeof out->path, "%.*s", SI__SOURCE_PATH - 1, whole);
        out->version[0] = '\0';
        out->origin = "directory";
        return failed;
    }
    return SI_ENOTFOUND;
}

static int find_in_directory(si__request *request, const char *path, si__source_text *out) {
    const char *dir = request->server->options->sources_dir, *app = si__request_argument(request, "app", "");
    int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0) return SI_ENOTFOUND;
    int is_part = si__key_is_name(app) && strcmp(app, ".") != 0 && strcmp(app, "..") != 0;
    int failed = is_part ? find_below(fd, app, path, out) : SI_ENOTFOUND;
    if (failed == SI_ENOTFOUND) failed = find_below(fd, "", path, out);
    close(fd);
    return failed;
}

int si__source_text_find(si__request *request, int64_t app, const char *version, const char *file,
                         si__source_text *out) {
    char path[SI__SOURCE_PATH];
    *out = (si__source_text){0};
    if (si__source_path(file, path)) return SI_ENOTFOUND;
    int failed = find_upload(request->reader, app, version, path, out);
    if (failed == SI_ENOTFOUND) failed = find_in_directory(request, path, out);
    if (!failed && memchr(out->text, '\0', out->length)) failed = SI_EFORMAT;
    if (failed) si__source_text_clear(out);
    return failed;
}
