/* One HTTP request and its answer; see request.h. Runs on the workers' threads. */
#include "request.h"

#include <errno.h>
#include <limits.h>
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "server.h"

const char *si__role_name(si__role role) {
    static const char *const names[] = {"", "viewer", "editor", "admin"};
    return role <= SI__ROLE_ADMIN ? names[role] : "";
}

si__role si__role_parse(const char *name) {
    for (si__role role = SI__ROLE_VIEWER; role <= SI__ROLE_ADMIN; role++)
        if (!strcmp(name, si__role_name(role))) return role;
    return SI__ROLE_PUBLIC;
}

const char *si__request_argument(si__request *request, const char *name, const char *fallback) {
    const char *value = MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
    return value ? value : fallback;
}

const char *si__request_header(si__request *request, const char *name) {
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

static void answer(si__request *request, int status, const char *content_type, char *text, size_t length) {
    free(request->out);
    request->status = status;
    request->content_type = content_type;
    request->out = text;
    request->out_length = length;
}

void si__answer_json(si__request *request, int status, si__json_writer *json) {
    char *text;
    size_t length;
    if (si__json_take(json, &text, &length))
        answer(request, 503, "application/json", NULL, 0);
    else
        answer(request, status, "application/json", text, length);
}

void si__answer_error(si__request *request, int status, const char *code, const char *message, const char *field) {
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_object_begin(&json, "error");
    si__json_put_string(&json, "code", code);
    si__json_put_string(&json, "message", message);
    if (field) si__json_put_string(&json, "field", field);
    si__json_object_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, status, &json);
}

void si__answer_nothing(si__request *request) {
    answer(request, 204, NULL, NULL, 0);
}

void si__answer_take(si__request *request, const char *content_type, char *text, size_t length) {
    answer(request, 200, content_type, text, length);
}

void si__answer_failure(si__request *request, int error) {
    switch (error) {
    case SI_ENOTFOUND:
        si__answer_error(request, 404, "not_found", "There is no such thing here.", NULL);
        return;
    case SI_EEXIST:
        si__answer_error(request, 409, "exists", "It is there already.", NULL);
        return;
    case SI_EINVAL:
        si__answer_error(request, 400, "invalid", "The request is not valid.", NULL);
        return;
    case SI_EAUTH:
        si__answer_error(request, 403, "forbidden", "This is not allowed.", NULL);
        return;
    case SI_ENOMEM:
        si__answer_error(request, 503, "out_of_memory", "The server is out of memory.", NULL);
        break;
    case SI_ELIMIT:
        si__answer_error(request, 503, "no_room", "The server has no room to store this now.", NULL);
        break;
    case SI_ESTATE:
        si__answer_error(request, 503, "stopping", "The server is stopping.", NULL);
        break;
    default:
        si__answer_error(request, 503, "store_failed", "The store could not be read or written.", NULL);
    }
    request->retry_after_s = 5;
}

int si__request_app(si__request *request, int64_t *app) {
    const char *name = si__request_argument(request, "app", ""),
               *environment = si__request_argument(request, "env", "");
    if (request->key_app && !*name && !*environment) { /* a key says which application it is for */
        *app = request->key_app;
        return SI_OK;
    }
    *app = si__read_app(request->reader, name, environment);
    if (request->key_app && *app != request->key_app) {
        si__answer_error(request, 403, "wrong_app", "The key is for another application or environment.",
                         *name ? "env" : "app");
        return SI_EAUTH;
    }
    if (*app) return SI_OK;
    si__answer_error(request, 404, "not_found",
                     "No application of that name has a key or has reported in this environment.",
                     *name ? "env" : "app");
    return SI_ENOTFOUND;
}

int si__request_time(si__request *request, const char *name, int64_t fallback, int64_t *out) {
    const char *text = si__request_argument(request, name, "");
    *out = fallback;
    if (!*text) return SI_OK;
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (!errno && !*end && value >= 0 && value <= 253402300799000ll) {
        *out = value;
        return SI_OK;
    }
    si__answer_error(request, 400, "invalid", "A time is a number of milliseconds since 1970.", name);
    return SI_EINVAL;
}

int si__request_range(si__request *request, si__range *range) {
    int64_t now = si__clock_unix_ms();
    *range = (si__range){0};
    int failed = si__request_app(request, &range->app);
    failed = failed ? failed : si__request_time(request, "to", now, &range->to_ms);
    failed = failed ? failed : si__request_time(request, "from", range->to_ms - 3600000, &range->from_ms);
    if (failed) return failed;
    if (range->from_ms >= range->to_ms) {
        si__answer_error(request, 400, "invalid", "The range ends before it begins.", "from");
        return SI_EINVAL;
    }
    const char *source = si__request_argument(request, "src", "");
    char *end;
    errno = 0;
    range->source = strtoll(source, &end, 10);
    if (!errno && !*end && range->source >= 0) return SI_OK;
    si__answer_error(request, 400, "invalid", "A source is the number that /sources gives it.", "src");
    return SI_EINVAL;
}

int si__request_limit(si__request *request, size_t fallback, size_t most, size_t *limit) {
    const char *text = si__request_argument(request, "limit", "");
    char *end;
    *limit = fallback;
    if (!*text) return SI_OK;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (!errno && !*end && value > 0) {
        *limit = (unsigned long long)value > most ? most : (size_t)value;
        return SI_OK;
    }
    si__answer_error(request, 400, "invalid", "A limit is a whole number above 0.", "limit");
    return SI_EINVAL;
}

int si__request_body(si__request *request, si__json **out) {
    char why[160], message[220];
    *out = NULL;
    int failed = si__json_parse(request->body ? request->body : "", request->body_length, out, why, sizeof why);
    if (!failed && (*out)->type == SI__JSON_OBJECT) return SI_OK;
    if (failed)
        snprintf(message, sizeof message, "The body is not valid JSON: %s", why);
    else
        snprintf(message, sizeof message, "The body must be a JSON object.");
    si__json_free(*out);
    *out = NULL;
    si__answer_error(request, 400, "malformed", message, NULL);
    return SI_EFORMAT;
}

int si__request_write(si__request *request, int (*apply)(si__tx *tx, void *arg), void *arg) {
    int failed = si__writer_call(si__store_writer(request->server->store), apply, arg);
    if (failed) si__answer_failure(request, failed);
    return failed;
}
