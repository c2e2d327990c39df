/*
 * Messages as files, "NUMBER-DELIVERY.msg": a line of JSON that says what it is, and the rendered message.
 *
 * Loop thread, and the worker for what blocks. Jobs hold on to the directory's object, so that one which ends after
 * si__kept_close finds it. No file holds a secret: keys and passwords are added when a message is sent.
 */
#include "kept.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../report/crc32c.h"
#include "../report/json.h"

#define PATH_BYTES 4096
#define FILE_MOST ((off_t)4 << 20)
#define NAME_MOST 128 /* of a channel */

struct si__kept {
    si__worker *worker;
    char *dir;
    int references; /* the owner, and jobs that are under way */
    char error[128];
};

typedef struct job {
    si__kept *kept;
    char path[PATH_BYTES];
    char *text; /* NULL: remove */
    size_t length;
    int failed; /* errno */
} job;

static void release(si__kept *kept) {
    if (--kept->references) return;
    free(kept->dir);
    free(kept);
}

si__kept *si__kept_open(si__worker *worker, const char *dir) {
    si__kept *kept = calloc(1, sizeof *kept);
    if (!kept || !(kept->dir = strdup(dir))) {
        free(kept);
        return NULL;
    }
    kept->worker = worker;
    kept->references = 1;
    if (mkdir(dir, 0700) && errno != EEXIST)
        snprintf(kept->error, sizeof kept->error, "cannot make the outbox: %s", strerror(errno));
    return kept;
}

void si__kept_close(si__kept *kept) {
    if (kept) release(kept);
}

const char *si__kept_error(const si__kept *kept) {
    return kept->error;
}

/* ---- Writing ---- */

static int sync_dir(const char *dir) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno;
    int failed = fsync(fd) ? errno : 0;
    close(fd);
    return failed;
}

static int write_all(int fd, const char *text, size_t length) {
    while (length) {
        ssize_t n = write(fd, text, length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        text += n;
        length -= (size_t)n;
    }
    return 0;
}

/* Under another name first: a file that is there is whole. */
static int write_file(const char *path, const char *text, size_t length) {
    char name[PATH_BYTES + 8];
    snprintf(name, sizeof name, "%s.new", path);
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return errno;
    int failed = write_all(fd, text, length);
    if (!failed && fsync(fd)) failed = errno;
    close(fd);
    if (!failed && rename(name, path)) failed = errno;
    if (failed) unlink(name);
    return failed;
}

static void do_job(void *arg) {
    job *j = arg;
    if (j->text)
        j->failed = write_file(j->path, j->text, j->length);
    else if (unlink(j->path) && errno != ENOENT)
        j->failed = errno;
    if (!j->failed) j->failed = sync_dir(j->kept->dir);
}

static void job_done(void *arg) {
    job *j = arg;
    if (j->failed)
        snprintf(j->kept->error, sizeof j->kept->error, "the outbox cannot be written: %s", strerror(j->failed));
    else
        j->kept->error[0] = '\0';
    release(j->kept);
    free(j->text);
    free(j);
}

static void submit(si__kept *kept, uint64_t number, const char *key, char *text, size_t length) {
    job *j = malloc(sizeof *j);
    if (j) {
        *j = (job){.kept = kept, .text = text, .length = length};
        snprintf(j->path, sizeof j->path, "%s/%016llx-%.32s.msg", kept->dir, (unsigned long long)number, key);
        kept->references++;
        if (si__worker_submit(kept->worker, do_job, job_done, j) == 0) return;
        release(kept);
    }
    snprintf(kept->error, sizeof kept->error, "the outbox cannot be written: out of memory");
    free(text);
    free(j);
}

void si__kept_put(si__kept *kept, const si__kept_message *m) {
    si__json_writer w = {0};
    char *head, *text = NULL;
    size_t head_length;
    si__json_object_begin(&w, NULL);
    si__json_put_int(&w, "version", 1);
    si__json_put_string(&w, "channel", m->channel);
    si__json_put_int(&w, "queued_ms", m->queued_ms);
    if (*m->tag) si__json_put_string(&w, "held", m->tag);
    si__json_put_uint(&w, "length", m->length);
    si__json_put_uint(&w, "crc32c", si__crc32c(0, m->body, m->length));
    si__json_object_end(&w);
    int failed = si__json_take(&w, &head, &head_length);
    if (!failed && (text = malloc(head_length + 1 + m->length))) {
        memcpy(text, head, head_length);
        text[head_length] = '\n';
        memcpy(text + head_length + 1, m->body, m->length);
        submit(kept, m->number, m->key, text, head_length + 1 + m->length);
    } else {
        snprintf(kept->error, sizeof kept->error, "the outbox cannot be written: out of memory");
    }
    if (!failed) free(head);
}

void si__kept_remove(si__kept *kept, uint64_t number, const char *key) {
    submit(kept, number, key, NULL, 0);
}

/* ---- Reading, at start ---- */

/* malloc'ed, or NULL: not a regular file of a sensible size. */
static char *read_file(const char *path, size_t *length) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    char *text = NULL;
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_MOST)
        text = malloc((size_t)st.st_size + 1);
    ssize_t got = text ? read(fd, text, (size_t)st.st_size) : -1;
    if (fd >= 0) close(fd);
    if (got < 0) {
        free(text);
        return NULL;
    }
    text[got] = '\0';
    *length = (size_t)got;
    return text;
}

/* 0, or SI_EFORMAT. `channel` and `tag`: NAME_MOST bytes. The body stays within `text`. */
static int parse(const char *text, size_t length, char *channel, char *tag, si__kept_message *out) {
    const char *end = memchr(text, '\n', length);
    si__json *head = NULL;
    if (!end || si__json_parse(text, (size_t)(end - text), &head, NULL, 0)) return SI_EFORMAT;
    snprintf(channel, NAME_MOST, "%s", si__json_get_string(head, "channel", ""));
    snprintf(tag, NAME_MOST, "%s", si__json_get_string(head, "held", ""));
    out->channel = channel;
    out->tag = tag;
    out->queued_ms = si__json_get_integer(head, "queued_ms", 0);
    out->body = end + 1;
    out->length = length - (size_t)(end + 1 - text);
    int whole = si__json_get_integer(head, "version", 0) == 1 && *channel &&
                si__json_get_integer(head, "length", -1) == (int64_t)out->length &&
                si__json_get_integer(head, "crc32c", -1) == (int64_t)si__crc32c(0, out->body, out->length);
    si__json_free(head);
    return whole ? SI_OK : SI_EFORMAT;
}

/* "0000000000000007-<32 hex digits>.msg" */
static int parse_name(const char *name, si__kept_message *out) {
    char *end;
    if (strspn(name, "0123456789abcdef") != 16 || name[16] != '-') return 0;
    if (strspn(name + 17, "0123456789abcdef") != SI__DELIVERY_BYTES - 1) return 0;
    if (strcmp(name + 16 + SI__DELIVERY_BYTES, ".msg") != 0) return 0;
    out->number = strtoull(name, &end, 16);
    snprintf(out->key, sizeof out->key, "%.32s", name + 17);
    return 1;
}

size_t si__kept_each(si__kept *kept, void (*each)(void *arg, const si__kept_message *message), void *arg) {
    struct dirent **names;
    size_t bad = 0;
    int count = scandir(kept->dir, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char path[PATH_BYTES], aside[PATH_BYTES + 8], channel[NAME_MOST], tag[NAME_MOST];
        si__kept_message m = {0};
        size_t length;
        snprintf(path, sizeof path, "%s/%s", kept->dir, names[i]->d_name);
        if (parse_name(names[i]->d_name, &m)) {
            char *text = read_file(path, &length);
            if (text && !parse(text, length, channel, tag, &m)) {
                each(arg, &m);
            } else {
                snprintf(aside, sizeof aside, "%s.bad", path);
                rename(path, aside);
                bad++;
            }
            free(text);
        } else if (strstr(names[i]->d_name, ".msg.new")) {
            unlink(path); /* was being written when the process ended */
        }
        free(names[i]);
    }
    if (count >= 0) free(names);
    return bad;
}
