/* A real si-dashboard for tests; see dashboard.h. */
#include "dashboard.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../c/temporary_dir.h"

#define DEADLINE_MS 20000

static void fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    abort();
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const char *program(void) {
    return SI_BINARY_DIR "/bin/si-dashboard";
}

static pid_t spawn(const char *const *arguments, int output, uint64_t file_limit_bytes) {
    pid_t pid = fork();
    if (pid < 0) fail("fork: %s", strerror(errno));
    if (pid > 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that dies leaves nothing behind */
    dup2(output, 1);
    dup2(output, 2);
    if (file_limit_bytes) {
        struct rlimit limit = {file_limit_bytes, RLIM_INFINITY};
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    execv(program(), (char *const *)arguments);
    _exit(127);
}

void dashboard_make(dashboard *d) {
    *d = (dashboard){.output = -1};
    temporary_dir_make(d->dir);
}

static void read_log(dashboard *d) {
    lseek(d->output, 0, SEEK_SET);
    ssize_t got = read(d->output, d->said, sizeof d->said - 1);
    d->said[got > 0 ? got : 0] = '\0';
}

static void wait_until_listening(dashboard *d) {
    int64_t deadline = now_ms() + DEADLINE_MS;
    for (;;) {
        read_log(d);
        const char *at = strstr(d->said, "listening on ");
        if (at && strchr(at, '\n')) {
            snprintf(d->url, sizeof d->url, "%.*s", (int)strcspn(at + 13, "\n"), at + 13);
            return;
        }
        int status;
        if (waitpid(d->pid, &status, WNOHANG) != 0) fail("si-dashboard ended before it listened; it said: %s", d->said);
        if (now_ms() > deadline) fail("si-dashboard did not listen in time; it said: %s", d->said);
        poll(NULL, 0, 5);
    }
}

void dashboard_start(dashboard *d, const char *const *options) {
    const char *arguments[32] = {program(), "--listen", "127.0.0.1:0", "--no-self", "--data", d->dir};
    size_t count = 6;
    char path[100];
    while (options && *options && count < 31) arguments[count++] = *options++;
    snprintf(path, sizeof path, "%s/said", d->dir);
    d->output = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (d->output < 0) fail("%s: %s", path, strerror(errno));
    d->pid = spawn(arguments, d->output, d->file_limit_bytes);
    wait_until_listening(d);
}

void dashboard_said(dashboard *d, const char *before, char *out, size_t out_bytes) {
    int64_t deadline = now_ms() + DEADLINE_MS;
    for (;;) {
        read_log(d);
        const char *at = strstr(d->said, before);
        const char *end = at ? strchr(at, '\n') : NULL;
        if (end) {
            at += strlen(before);
            snprintf(out, out_bytes, "%.*s", (int)(end - at), at);
            return;
        }
        if (now_ms() > deadline) fail("si-dashboard never said '%s'; it said: %s", before, d->said);
        poll(NULL, 0, 5);
    }
}

int dashboard_stop(dashboard *d, int signal_number) {
    int status = 0;
    if (!d->pid) return 0;
    kill(d->pid, signal_number);
    int64_t deadline = now_ms() + DEADLINE_MS;
    while (waitpid(d->pid, &status, WNOHANG) == 0) {
        if (now_ms() > deadline) {
            kill(d->pid, SIGKILL);
            waitpid(d->pid, &status, 0);
            fail("si-dashboard did not end in time");
        }
        poll(NULL, 0, 5);
    }
    read_log(d);
    close(d->output);
    d->output = -1;
    d->pid = 0;
    if (signal_number == SIGTERM && status != 0) fail("si-dashboard ended badly (%d); it said: %s", status, d->said);
    return status;
}

void dashboard_remove(dashboard *d) {
    dashboard_stop(d, SIGTERM);
    temporary_dir_remove(d->dir);
}

int dashboard_run(const char *const *arguments, char *out, size_t out_bytes) {
    const char *all[32] = {program()};
    size_t count = 1, used = 0;
    while (*arguments && count < 31) all[count++] = *arguments++;
    int ends[2], status = 0;
    if (pipe2(ends, O_CLOEXEC)) fail("pipe: %s", strerror(errno));
    pid_t pid = spawn(all, ends[1], 0);
    close(ends[1]);
    for (ssize_t got; used + 1 < out_bytes && (got = read(ends[0], out + used, out_bytes - 1 - used)) > 0;)
        used += (size_t)got;
    out[used] = '\0';
    close(ends[0]);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void dashboard_key(dashboard *d, const char *app, const char *environment, char out[128]) {
    const char *arguments[] = {"key", "--data", d->dir, "--app", app, "--env", environment, NULL};
    if (dashboard_run(arguments, out, 128)) fail("no key: %s", out);
    out[strcspn(out, "\n")] = '\0';
}

/* ---- HTTP ---- */

typedef struct taking {
    char *data;
    size_t length;
} taking;

static size_t take(char *data, size_t size, size_t count, void *arg) {
    taking *t = arg;
    char *more = realloc(t->data, t->length + size * count + 1);
    if (!more) return 0;
    memcpy(more + t->length, data, size * count);
    t->data = more;
    t->length += size * count;
    t->data[t->length] = '\0';
    return size * count;
}

void reply_free(reply *r) {
    free(r->body);
    free(r->head);
    *r = (reply){0};
}

const char *reply_header(const reply *r, const char *name, char *out, size_t out_bytes) {
    size_t length = strlen(name);
    out[0] = '\0';
    for (const char *line = r->head; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (strncasecmp(line, name, length) != 0 || line[length] != ':') continue;
        line += length + 1;
        while (*line == ' ') line++;
        snprintf(out, out_bytes, "%.*s", (int)strcspn(line, "\r\n"), line);
        return out;
    }
    return out;
}

reply http(const char *method, const char *url, const char *const *headers, const void *body, size_t length) {
    CURL *curl = curl_easy_init();
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    taking head = {0}, got = {0};
    reply r = {0};
    for (; headers && *headers; headers++) list = curl_slist_append(list, *headers);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)DEADLINE_MS);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &got);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &head);
    if (body) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }
    if (curl_easy_perform(curl) == CURLE_OK) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &r.status);
    curl_slist_free_all(list);
    curl_easy_cleanup(curl);
    r.body = got.data ? got.data : calloc(1, 1);
    r.length = got.length;
    r.head = head.data ? head.data : calloc(1, 1);
    return r;
}

si__json *reply_json(const reply *r) {
    si__json *json = NULL;
    char why[160];
    if (si__json_parse(r->body, r->length, &json, why, sizeof why))
        fail("not JSON (%s), status %ld: %.300s", why, r->status, r->body);
    return json;
}

/* ---- People ---- */

static void keep_cookie(person *p, const reply *r) {
    char cookie[300];
    if (!*reply_header(r, "Set-Cookie", cookie, sizeof cookie)) return;
    snprintf(p->cookie, sizeof p->cookie, "Cookie: %.*s", (int)strcspn(cookie, ";"), cookie);
}

static void keep_csrf(person *p, const reply *r) {
    const char *at = strstr(r->body, "\"csrf\":\"");
    if (at) snprintf(p->csrf, sizeof p->csrf, "%.64s", at + 8);
}

reply person_ask(person *p, const char *method, const char *path, const char *body) {
    char url[4200], origin[100], csrf[120];
    const char *headers[6] = {0};
    size_t count = 0;
    snprintf(url, sizeof url, "%s/api/v1%s", p->d->url, path);
    snprintf(origin, sizeof origin, "Origin: %s", p->d->url);
    snprintf(csrf, sizeof csrf, "X-CSRF-Token: %s", p->csrf);
    if (p->cookie[0]) headers[count++] = p->cookie;
    if (strcmp(method, "GET") != 0) {
        headers[count++] = origin;
        headers[count++] = csrf;
        headers[count++] = "Content-Type: application/json";
    }
    reply r = http(method, url, headers, body, body ? strlen(body) : 0);
    keep_cookie(p, &r);
    keep_csrf(p, &r);
    return r;
}

void person_visit(person *p, dashboard *d) {
    *p = (person){.d = d};
    reply r = person_ask(p, "GET", "/session", NULL);
    if (r.status != 200) fail("/session: %ld %s", r.status, r.body);
    reply_free(&r);
}

void person_sign_in(person *p, dashboard *d) {
    char link[512], body[256];
    const char *arguments[] = {"sign-in-link", "--data", d->dir, NULL};
    if (dashboard_run(arguments, link, sizeof link)) fail("no sign-in link: %s", link);
    const char *token = strstr(link, "token=");
    snprintf(body, sizeof body, "{\"token\":\"%.64s\"}", token ? token + 6 : "");
    person_visit(p, d);
    reply r = person_ask(p, "POST", "/sign-in-link", body);
    if (r.status != 200) fail("/sign-in-link: %ld %s", r.status, r.body);
    reply_free(&r);
}

si__json *person_get(person *p, const char *path) {
    reply r = person_ask(p, "GET", path, NULL);
    if (r.status / 100 != 2) fail("GET %s: %ld %.300s", path, r.status, r.body);
    si__json *json = reply_json(&r);
    reply_free(&r);
    return json;
}

long person_status(person *p, const char *method, const char *path, const char *body) {
    reply r = person_ask(p, method, path, body);
    long status = r.status;
    reply_free(&r);
    return status;
}

void person_join(person *admin, person *p, const char *email, const char *role) {
    char body[400];
    snprintf(body, sizeof body, "{\"email\":\"%s\",\"role\":\"%s\"}", email, role);
    reply r = person_ask(admin, "POST", "/users", body);
    const char *token = strstr(r.body, "token=");
    if (r.status != 201 || !token) fail("/users: %ld %s", r.status, r.body);
    person_visit(p, admin->d);
    snprintf(body, sizeof body, "{\"token\":\"%.64s\",\"name\":\"%s\",\"password\":\"%s\"}", token + 6, role,
             PERSON_PASSWORD);
    reply_free(&r);
    long status = person_status(p, "POST", "/invite", body);
    if (status != 200) fail("/invite: %ld", status);
}

/* ---- Agents and other programs ---- */

reply key_ask(dashboard *d, const char *key, const char *method, const char *path, const void *body, size_t length) {
    char url[4200], authorization[200];
    snprintf(url, sizeof url, "%s/api/v1%s", d->url, path);
    snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", key);
    return http(method, url, (const char *[]){authorization, NULL}, body, length);
}

long agent_send(dashboard *d, const char *key, const uint8_t *data, size_t length, char status_text[32]) {
    char url[100], authorization[200];
    snprintf(url, sizeof url, "%s/api/v1/reports", d->url);
    snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", key);
    const char *headers[] = {authorization, "Content-Encoding: zstd", "Content-Type: application/vnd.msgpack", NULL};
    reply r = http("POST", url, headers, data, length);
    const char *at = strstr(r.body, "\"status\":\""), *code = strstr(r.body, "\"code\":\"");
    const char *text = at ? at + 10 : code ? code + 8 : "";
    snprintf(status_text, 32, "%.*s", (int)strcspn(text, "\""), text);
    long status = r.status;
    reply_free(&r);
    return status;
}
