/*
 * Until when receivers asked to be left alone (Retry-After), in a file of its own, so that a restart does not forget
 * it: a line "UNIX_MS CHANNEL" for each. Loop thread; the worker writes where there is one. Without fsync: what is lost
 * in a power cut costs the receiver one message too early.
 */
#include <errno.h>
#include <fcntl.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "outbox.h"

#define PAUSE_MOST_MS ((int64_t)86400000) /* a clock that was set, or a receiver's whim */
#define FILE_BYTES 65536

typedef struct job {
    char path[4096], *text;
    size_t length;
} job;

static void write_work(void *arg) {
    const job *j = arg;
    char beside[sizeof j->path + 8];
    snprintf(beside, sizeof beside, "%s.new", j->path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return;
    int failed = write(fd, j->text, j->length) != (ssize_t)j->length;
    failed |= close(fd) != 0;
    if (failed || rename(beside, j->path) != 0) unlink(beside);
}

static void write_after(void *arg) {
    job *j = arg;
    free(j->text);
    free(j);
}

static void save(si__notify *n) {
    const si__outbox *box;
    if (!n->pauses_path) return;
    job *j = calloc(1, sizeof *j);
    if (!j || !(j->text = malloc(FILE_BYTES))) {
        free(j);
        return;
    }
    int64_t now_ms = si__outbox_unix_ms();
    snprintf(j->path, sizeof j->path, "%s", n->pauses_path);
    STAILQ_FOREACH(box, &n->outboxes, link) {
        if (box->paused_until_ms <= now_ms || j->length + strlen(box->name) + 32 > FILE_BYTES) continue;
        j->length += (size_t)snprintf(j->text + j->length, FILE_BYTES - j->length, "%lld %s\n",
                                      (long long)box->paused_until_ms, box->name);
    }
    if (n->pauses_worker && si__worker_submit(n->pauses_worker, write_work, write_after, j) == 0) return;
    write_work(j);
    write_after(j);
}

void si__pause_set(si__outbox *box, uint64_t ms) {
    box->paused_until_ms = si__outbox_unix_ms() + (int64_t)ms;
    save(box->notify);
}

void si__pause_end(si__outbox *box) {
    if (!box->paused_until_ms) return;
    box->paused_until_ms = 0;
    save(box->notify);
}

static void restore(si__notify *n, const char *channel, int64_t until_ms) {
    int64_t left_ms = until_ms - si__outbox_unix_ms();
    if (left_ms <= 0) return;
    if (left_ms > PAUSE_MOST_MS) left_ms = PAUSE_MOST_MS;
    si__outbox *box = si__outbox_find(n, channel);
    if (!box && !(box = si__outbox_new(n, channel))) return;
    box->paused_until_ms = until_ms;
    box->not_before_ms = uv_now(n->loop) + (uint64_t)left_ms;
}

static void read_pauses(si__notify *n) {
    char line[256], channel[128];
    long long until_ms;
    int fd = open(n->pauses_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (!file) {
        if (fd >= 0) close(fd);
        return;
    }
    for (int i = 0; i < 1000 && fgets(line, sizeof line, file); i++)
        if (sscanf(line, "%lld %127[^\n]", &until_ms, channel) == 2) restore(n, channel, until_ms);
    fclose(file);
}

int si__notify_keep_pauses(si__notify *n, si__worker *worker, const char *path) {
    n->pauses_path = strdup(path);
    if (!n->pauses_path) return SI_ENOMEM;
    n->pauses_worker = worker;
    read_pauses(n);
    si__notify_pump(n);
    return SI_OK;
}
