/*
 * Copies of a store; see backup.h. SQLite's backup interface reads one consistent state in one go, so that a server
 * that writes all the time neither waits for it nor makes it begin again.
 */
#include "backup.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "schema.h"

#define PATH_BYTES 4096
#define ROOM_LEFT ((uint64_t)16 << 20)

static int fail(int code, char *error, size_t error_bytes, const char *path, const char *why) {
    snprintf(error, error_bytes, "%s: %s", path, why);
    return code;
}

static int sync_path(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd) != 0;
    if (fd >= 0) close(fd);
    return failed ? SI_EIO : SI_OK;
}

static int sync_directory_of(const char *path) {
    char copy[PATH_BYTES];
    snprintf(copy, sizeof copy, "%s", path);
    return sync_path(dirname(copy), O_RDONLY | O_DIRECTORY);
}

static int64_t number_of(sqlite3 *sql, const char *question) {
    sqlite3_stmt *statement = NULL;
    int64_t value = -1;
    if (sqlite3_prepare_v2(sql, question, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
        value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

static int is_sound(sqlite3 *sql) {
    sqlite3_stmt *statement = NULL;
    int sound = sqlite3_prepare_v2(sql, "PRAGMA quick_check(1)", -1, &statement, NULL) == SQLITE_OK &&
                sqlite3_step(statement) == SQLITE_ROW && !strcmp((const char *)sqlite3_column_text(statement, 0), "ok");
    sqlite3_finalize(statement);
    return sound;
}

/* Is there room for a copy beside `file`? */
static int has_room(sqlite3 *from, const char *file) {
    char copy[PATH_BYTES];
    struct statvfs disk;
    snprintf(copy, sizeof copy, "%s", file);
    uint64_t bytes = (uint64_t)number_of(from, "PRAGMA page_count") * (uint64_t)number_of(from, "PRAGMA page_size");
    return statvfs(dirname(copy), &disk) != 0 || (uint64_t)disk.f_bavail * disk.f_frsize > bytes + ROOM_LEFT;
}

/* Fills `part`, an empty file of ours, from an open connection. */
static int copy_pages(sqlite3 *from, const char *part, char *error, size_t error_bytes) {
    sqlite3 *to = NULL;
    int result = sqlite3_open_v2(part, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    sqlite3_backup *backup = result == SQLITE_OK ? sqlite3_backup_init(to, "main", from, "main") : NULL;
    if (backup) {
        do {
            result = sqlite3_backup_step(backup, -1);
            if (result == SQLITE_BUSY || result == SQLITE_LOCKED) sqlite3_sleep(20);
        } while (result == SQLITE_BUSY || result == SQLITE_LOCKED);
        result = sqlite3_backup_finish(backup);
    } else if (result == SQLITE_OK) {
        result = SQLITE_ERROR;
    }
    /* One file that needs no other beside it. */
    if (result == SQLITE_OK) result = sqlite3_exec(to, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL);
    int failed = result == SQLITE_OK ? SI_OK : result == SQLITE_FULL ? SI_ELIMIT : SI_EIO;
    if (failed) fail(failed, error, error_bytes, part, to ? sqlite3_errmsg(to) : sqlite3_errstr(result));
    if (!failed && !is_sound(to)) failed = fail(SI_EIO, error, error_bytes, part, "the copy is damaged");
    sqlite3_close(to);
    return failed;
}

int si__backup_copy(si__db *db, const char *file, char *error, size_t error_bytes) {
    char part[PATH_BYTES];
    if ((size_t)snprintf(part, sizeof part, "%s.part", file) >= sizeof part)
        return fail(SI_EINVAL, error, error_bytes, file, "the name is too long");
    if (access(file, F_OK) == 0) return fail(SI_EEXIST, error, error_bytes, file, "is there already");
    if (!has_room(db->sql, file)) return fail(SI_ELIMIT, error, error_bytes, file, "not enough room on the disk");
    unlink(part); /* of one that was interrupted */
    int fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return fail(SI_EIO, error, error_bytes, part, strerror(errno));
    close(fd);
    int failed = copy_pages(db->sql, part, error, error_bytes);
    if (!failed && sync_path(part, O_RDONLY)) failed = fail(SI_EIO, error, error_bytes, part, strerror(errno));
    if (!failed && link(part, file) != 0) /* unlike rename, takes no other's place */
        failed = fail(errno == EEXIST ? SI_EEXIST : SI_EIO, error, error_bytes, file, strerror(errno));
    unlink(part);
    if (!failed && sync_directory_of(file)) failed = fail(SI_EIO, error, error_bytes, file, strerror(errno));
    return failed;
}

int si__backup_make(const char *data_dir, const char *file, char *error, size_t error_bytes) {
    si__db db;
    int failed = si__db_open(&db, data_dir, SI__DB_READ, error, error_bytes);
    if (failed) return failed;
    failed = si__backup_copy(&db, file, error, error_bytes);
    si__db_close(&db);
    return failed;
}

/* ---- Restoring ---- */

static int check_file(sqlite3 *sql, const char *file, char *error, size_t error_bytes) {
    int64_t version = number_of(sql, "PRAGMA user_version");
    if (version <= 0 ||
        number_of(sql, "SELECT count(*) FROM meta WHERE key='application' AND value='si-dashboard'") != 1)
        return fail(SI_EFORMAT, error, error_bytes, file, "is not a store of si-dashboard");
    if (version > si__schema_version())
        return fail(SI_EFORMAT, error, error_bytes, file, "was written by a newer si-dashboard");
    return is_sound(sql) ? SI_OK : fail(SI_EFORMAT, error, error_bytes, file, "is damaged");
}

static int lock_store(const char *data_dir, int *lock, char *error, size_t error_bytes) {
    char path[PATH_BYTES];
    if (mkdir(data_dir, 0700) != 0 && errno != EEXIST)
        return fail(SI_EIO, error, error_bytes, data_dir, strerror(errno));
    snprintf(path, sizeof path, "%s/lock", data_dir);
    *lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*lock < 0) return fail(SI_EIO, error, error_bytes, path, strerror(errno));
    if (flock(*lock, LOCK_EX | LOCK_NB) == 0) return SI_OK;
    return fail(SI_EEXIST, error, error_bytes, data_dir, "a server is running there: stop it first");
}

/* Moves the store's file and what belongs to it out of the way. */
static int set_aside(const char *data_dir, char *error, size_t error_bytes) {
    static const char *const endings[] = {"-wal", "-shm", ""}; /* the file last: until then it is whole */
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        char from[PATH_BYTES], to[PATH_BYTES + 32];
        snprintf(from, sizeof from, "%s/si.db%s", data_dir, endings[i]);
        snprintf(to, sizeof to, "%s/si.db.before-restore%s", data_dir, endings[i]);
        unlink(to);
        if (rename(from, to) != 0 && errno != ENOENT) return fail(SI_EIO, error, error_bytes, from, strerror(errno));
    }
    return SI_OK;
}

static int put_in_place(const char *data_dir, sqlite3 *from, char *error, size_t error_bytes) {
    char fresh[PATH_BYTES], place[PATH_BYTES];
    si__db db = {.sql = from};
    snprintf(fresh, sizeof fresh, "%s/si.db.restored", data_dir);
    snprintf(place, sizeof place, "%s/si.db", data_dir);
    unlink(fresh);
    int failed = si__backup_copy(&db, fresh, error, error_bytes);
    if (!failed) failed = set_aside(data_dir, error, error_bytes);
    if (!failed && rename(fresh, place) != 0) failed = fail(SI_EIO, error, error_bytes, place, strerror(errno));
    if (!failed && sync_directory_of(place)) failed = fail(SI_EIO, error, error_bytes, place, strerror(errno));
    return failed;
}

int si__backup_restore(const char *data_dir, const char *file, char *error, size_t error_bytes) {
    sqlite3 *from = NULL;
    int lock = -1;
    int failed = lock_store(data_dir, &lock, error, error_bytes);
    if (!failed && sqlite3_open_v2(file, &from, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        failed = fail(SI_EIO, error, error_bytes, file, from ? sqlite3_errmsg(from) : "out of memory");
    if (!failed) failed = check_file(from, file, error, error_bytes);
    if (!failed) failed = put_in_place(data_dir, from, error, error_bytes);
    sqlite3_close(from);
    if (lock >= 0) close(lock);
    return failed;
}
