/*
 * Reads a channels file: checks every field, fetches secrets from the environment or from files.
 *
 * Called by notify.c when channels are loaded, and by the dashboard for its settings. Text that goes into headers or an
 * SMTP dialogue is refused here when it could break out of its place.
 */
#include "channel.h"

#include <si/si.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../report/json.h"

#define CHANNELS_MOST 256
#define SECRET_BYTES 4096
#define RECIPIENTS_MOST 50

static const char *const kind_names[] = {"webhook", "slack", "email", "pagerduty"};
static const char pagerduty_url[] = "https://events.pagerduty.com/v2/enqueue";

typedef struct reader {
    const char *channel; /* being read */
    char *error;
    size_t error_bytes;
    int status;
} reader;

__attribute__((format(printf, 3, 4))) static int fail(reader *r, const char *field, const char *format, ...) {
    if (r->status) return r->status;
    r->status = SI_EFORMAT;
    if (!r->error_bytes) return r->status;
    int n = snprintf(r->error, r->error_bytes, field ? "channel %s: field %s: " : "channel %s: ", r->channel, field);
    if (n < 0 || (size_t)n >= r->error_bytes) return r->status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(r->error + n, r->error_bytes - (size_t)n, format, arguments);
    va_end(arguments);
    return r->status;
}

static char *copy(reader *r, const char *text) {
    char *to = strdup(text);
    if (!to && !r->status) r->status = SI_ENOMEM;
    return to;
}

/* ---- Secrets ---- */

static char *read_secret_file(reader *r, const char *field, const char *path) {
    char text[SECRET_BYTES + 1];
    struct stat st;
    FILE *file = fopen(path, "re");
    if (!file || fstat(fileno(file), &st) || !S_ISREG(st.st_mode)) {
        fail(r, field, "cannot read %s", path);
        if (file) fclose(file);
        return NULL;
    }
    size_t length = fread(text, 1, sizeof text, file);
    fclose(file);
    while (length && length <= SECRET_BYTES && (text[length - 1] == '\n' || text[length - 1] == '\r')) length--;
    if (!length || length > SECRET_BYTES || memchr(text, '\0', length)) {
        fail(r, field, "%s does not hold one line of text", path);
        return NULL;
    }
    text[length] = '\0';
    return copy(r, text);
}

static char *fetch(reader *r, const char *field, const char *text) {
    if (!strncmp(text, "file:", 5)) return read_secret_file(r, field, text + 5);
    if (strncmp(text, "env:", 4) != 0) return copy(r, text);
    const char *value = getenv(text + 4);
    if (value && *value) return copy(r, value);
    fail(r, field, "the environment variable %s is not set", text + 4);
    return NULL;
}

/* One line of printable text; the value itself is never shown, because it may be a secret. */
static int is_one_line(const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f) return 0;
    return 1;
}

static char *read_text(reader *r, const si__json *object, const char *field, int required) {
    const si__json *value = si__json_get(object, field);
    if (r->status || (!value && !required)) return NULL;
    if (!value || value->type != SI__JSON_STRING || !value->length) {
        fail(r, field, value ? "must be a text" : "is missing");
        return NULL;
    }
    char *text = fetch(r, field, value->text);
    if (text && !is_one_line(text)) fail(r, field, "has control characters");
    return text;
}

/* ---- Fields ---- */

static void check_url(reader *r, const char *field, const char *url, const char *a, const char *b) {
    if (r->status || !url) return;
    size_t la = strlen(a), lb = strlen(b);
    const char *rest = !strncmp(url, a, la) ? url + la : !strncmp(url, b, lb) ? url + lb : NULL;
    if (!rest) fail(r, field, "must begin with %s or %s", a, b);
    if (rest && (!*rest || *rest == '/' || strpbrk(url, " \"<>\\"))) fail(r, field, "is no URL");
}

/* A plain address, user@host, that is safe inside <> and in a header. */
static int is_address(const char *text) {
    const char *at = strchr(text, '@');
    if (!at || at == text || !at[1] || strchr(at + 1, '@') || strlen(text) > 254) return 0;
    for (; *text; text++)
        if (*text <= ' ' || *text > '~' || strchr("<>()[]\\,;:\"", *text)) return 0;
    return 1;
}

static void read_recipients(reader *r, const si__json *object, si__channel *c) {
    const si__json *to = si__json_get(object, "to");
    if (r->status) return;
    if (!to || to->type != SI__JSON_ARRAY || !to->count || to->count > RECIPIENTS_MOST) {
        fail(r, "to", "must be a list of 1 to %d addresses", RECIPIENTS_MOST);
        return;
    }
    if (!(c->to = calloc(to->count, sizeof *c->to))) r->status = SI_ENOMEM;
    for (const si__json *item = to->first; item && !r->status; item = item->next) {
        if (item->type != SI__JSON_STRING || !is_address(item->text))
            fail(r, "to", "must hold plain addresses, such as lead@example.org");
        else if ((c->to[c->to_count] = copy(r, item->text)))
            c->to_count++;
    }
}

static void read_tls(reader *r, const si__json *object, si__channel *c) {
    const si__json *value = si__json_get(object, "tls");
    const char *tls = value ? si__json_get_string(object, "tls", "") : "required";
    if (!strcmp(tls, "required"))
        c->tls = SI__TLS_REQUIRED;
    else if (!strcmp(tls, "try"))
        c->tls = SI__TLS_TRY;
    else if (!strcmp(tls, "none"))
        c->tls = SI__TLS_NONE;
    else
        fail(r, "tls", "must be \"required\", \"try\" or \"none\"");
}

static void read_email(reader *r, const si__json *object, si__channel *c) {
    c->url = read_text(r, object, "smtp", 1);
    check_url(r, "smtp", c->url, "smtp://", "smtps://");
    c->user = read_text(r, object, "user", 0);
    c->password = read_text(r, object, "password", 0);
    if (!c->user != !c->password) fail(r, c->user ? "password" : "user", "is missing");
    c->from = read_text(r, object, "from", 1);
    if (c->from && !is_address(c->from)) fail(r, "from", "must be a plain address, such as si@example.org");
    read_recipients(r, object, c);
    read_tls(r, object, c);
}

static void check_fields(reader *r, const si__json *object, si__channel_kind kind) {
    static const char *const known[][8] = {
        {"url", "secret"}, {"url"}, {"smtp", "user", "password", "from", "to", "tls"}, {"routing_key", "url"}};
    for (const si__json *member = object->first; member && !r->status; member = member->next) {
        int found = 0;
        for (int i = 0; i < 8 && known[kind][i]; i++) found |= !strcmp(member->key, known[kind][i]);
        if (!found) fail(r, member->key, "is not known for %s", kind_names[kind]);
    }
}

static int parse_kind(const char *name) {
    const char *colon = strchr(name, ':');
    if (!colon || !colon[1] || strlen(name) > 63 || !is_one_line(name)) return -1;
    for (int i = 0; i < (int)(sizeof kind_names / sizeof *kind_names); i++)
        if ((size_t)(colon - name) == strlen(kind_names[i]) && !strncmp(name, kind_names[i], strlen(kind_names[i])))
            return i;
    return -1;
}

static int add_target(reader *r, si__channel *c, const si__json *name) {
    if (name->type != SI__JSON_STRING) return fail(r, NULL, "must be an object, a channel's name, or a list of names");
    if ((c->to[c->to_count] = copy(r, name->text))) c->to_count++;
    return r->status;
}

/* "default": "slack:perf", or a list. Whether those exist is checked when all are read. */
static void read_alias(reader *r, const si__json *value, si__channel *c) {
    size_t count = value->type == SI__JSON_ARRAY ? value->count : 1;
    if (!*value->key || strchr(value->key, ':') || strlen(value->key) > 63 || !is_one_line(value->key) || !count ||
        count > RECIPIENTS_MOST) {
        fail(r, NULL, "another name for channels is up to 63 letters without a colon, for 1 to %d of them",
             RECIPIENTS_MOST);
        return;
    }
    c->kind = SI__CHANNEL_ALIAS;
    c->name = copy(r, value->key);
    if (!(c->to = calloc(count, sizeof *c->to))) r->status = SI_ENOMEM;
    if (value->type != SI__JSON_ARRAY && !r->status) add_target(r, c, value);
    for (const si__json *item = value->type == SI__JSON_ARRAY ? value->first : NULL; item && !r->status;
         item = item->next)
        add_target(r, c, item);
}

static void check_aliases(reader *r, const si__channel *items, size_t count) {
    for (size_t i = 0; i < count && !r->status; i++)
        for (size_t t = 0; items[i].kind == SI__CHANNEL_ALIAS && t < items[i].to_count && !r->status; t++) {
            size_t n = 0;
            r->channel = items[i].name;
            while (n < count &&
                   (items[n].kind == SI__CHANNEL_ALIAS || !items[n].name || strcmp(items[n].name, items[i].to[t]) != 0))
                n++;
            if (n == count) fail(r, NULL, "there is no channel %s", items[i].to[t]);
        }
}

static void read_channel(reader *r, const si__json *object, si__channel *c) {
    int kind = parse_kind(object->key);
    if (kind < 0 && (object->type == SI__JSON_STRING || object->type == SI__JSON_ARRAY)) {
        read_alias(r, object, c);
        return;
    }
    if (kind < 0) {
        fail(r, NULL, "a name is webhook:, slack:, email: or pagerduty: and up to 50 letters");
        return;
    }
    if (object->type != SI__JSON_OBJECT) {
        fail(r, NULL, "must be an object");
        return;
    }
    c->kind = (si__channel_kind)kind;
    c->name = copy(r, object->key);
    check_fields(r, object, c->kind);
    if (c->kind == SI__CHANNEL_EMAIL) {
        read_email(r, object, c);
        return;
    }
    c->url = read_text(r, object, "url", c->kind != SI__CHANNEL_PAGERDUTY);
    if (!r->status && !c->url) c->url = copy(r, pagerduty_url);
    check_url(r, "url", c->url, "https://", "http://");
    if (c->kind == SI__CHANNEL_WEBHOOK) c->secret = read_text(r, object, "secret", 0);
    if (c->kind == SI__CHANNEL_PAGERDUTY) c->secret = read_text(r, object, "routing_key", 1);
}

int si__channels_parse(const char *json, size_t length, si__channel **out, size_t *count, char *error,
                       size_t error_bytes) {
    si__json *root;
    *out = NULL;
    *count = 0;
    int status = si__json_parse(json, length, &root, error, error_bytes);
    if (status) return status;
    const si__json *channels = si__json_get(root, "channels");
    if (!channels || channels->type != SI__JSON_OBJECT || channels->count > CHANNELS_MOST) {
        if (error_bytes) snprintf(error, error_bytes, "expected {\"channels\": {...}} with at most %d", CHANNELS_MOST);
        si__json_free(root);
        return SI_EFORMAT;
    }
    reader r = {.error = error, .error_bytes = error_bytes};
    si__channel *items = calloc(channels->count + 1, sizeof *items);
    if (!items) r.status = SI_ENOMEM;
    size_t n = 0;
    for (const si__json *object = channels->first; object && !r.status; object = object->next) {
        r.channel = object->key;
        for (size_t i = 0; i < n; i++)
            if (items[i].name && !strcmp(items[i].name, object->key)) fail(&r, NULL, "given twice");
        if (!r.status) read_channel(&r, object, &items[n++]);
    }
    if (items) check_aliases(&r, items, n);
    si__json_free(root);
    if (r.status) {
        si__channels_free(items, n);
        return r.status;
    }
    *out = items;
    *count = n;
    return SI_OK;
}

void si__channels_free(si__channel *channels, size_t count) {
    for (size_t i = 0; channels && i < count; i++) {
        si__channel *c = &channels[i];
        for (size_t t = 0; t < c->to_count; t++) free(c->to[t]);
        free(c->to);
        free(c->name);
        free(c->url);
        free(c->secret);
        free(c->user);
        free(c->password);
        free(c->from);
    }
    free(channels);
}
