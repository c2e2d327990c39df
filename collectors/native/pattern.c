/* Patterns of URLs, paths and keys: see pattern.h. */
#include "pattern.h"

#include <string.h>
#include <strings.h>

typedef struct writer {
    char *out;
    size_t length;
    int full;
} writer;

enum { ROOM = SI__NAME_BYTES - 1, SEGMENTS_MAX = 16 };

static void put(writer *w, const char *text, size_t length) {
    if (w->full || w->length + length > ROOM) {
        w->full = 1;
        return;
    }
    memcpy(w->out + w->length, text, length);
    w->length += length;
    w->out[w->length] = '\0';
}

static int is_digit(char c) {
    return c >= '0' && c <= '9';
}
static int is_hex(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
static int is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Whether a part of a path or key tells one object from another: numbers, hashes, UUIDs, dates, tokens, addresses. */
static int is_id(const char *text, size_t length) {
    size_t digits = 0, run = 0, longest = 0, hex = 0, upper = 0, lower = 0;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (!is_digit(c) && !is_letter(c) && c != '-' && c != '_' && c != '.' && c != '~') return 1;
        run = is_digit(c) ? run + 1 : 0;
        if (run > longest) longest = run;
        digits += is_digit(c);
        hex += is_hex(c) || c == '-';
        upper += c >= 'A' && c <= 'Z';
        lower += c >= 'a' && c <= 'z';
    }
    if (digits == 0) return length > 40 || (length >= 20 && upper > 2 && lower > 2) || (length >= 16 && hex == length);
    if ((text[0] == 'v' || text[0] == 'V') && digits == length - 1 && length <= 4) return 0; /* a version */
    return is_digit(text[0]) || longest >= 2 || (length >= 8 && hex == length) || length >= 16;
}

static void put_method(writer *w, const char *method) {
    size_t length = method ? strnlen(method, 17) : 0;
    for (size_t i = 0; i < length; i++)
        if (!is_letter(method[i])) length = 0;
    if (length == 0 || length > 16)
        put(w, "HTTP", 4);
    else
        put(w, method, length);
    put(w, " ", 1);
}

/* What is too long ends with "/...". */
static void put_path(writer *w, const char *path) {
    size_t end = strcspn(path, "?#;");
    if (path[0] != '/') put(w, "/", 1);
    for (size_t at = 0; at < end;) {
        size_t before = w->length, length = 0;
        if (path[at] == '/') {
            put(w, "/", 1);
            at++;
        }
        while (at + length < end && path[at + length] != '/') length++;
        int id = is_id(path + at, length);
        put(w, id ? ":id" : path + at, id ? 3 : length);
        at += length;
        if (!w->full && (w->length <= ROOM - 4 || at == end)) continue;
        w->length = before < ROOM - 4 ? before : ROOM - 4;
        w->full = 0;
        put(w, "/...", 4);
        return;
    }
}

/* The name of a host, in small letters; what is none is left out. */
static void put_host(writer *w, const char *host, size_t length) {
    for (size_t i = 0; i < length && i < 64; i++) {
        char c = host[i];
        if (c >= 'A' && c <= 'Z') c = (char)(c + 0x20);
        if (is_letter(c) || is_digit(c) || strchr(".-_:[]", c)) put(w, &c, 1);
    }
}

void si__pattern_url(const char *method, const char *url, char *out) {
    writer w = {out, 0, 0};
    char other[17] = "";
    out[0] = '\0';
    const char *authority = url ? strstr(url, "://") : NULL;
    size_t scheme = authority ? (size_t)(authority - url) : 0;
    if (scheme && scheme < sizeof other && strncasecmp(url, "http", 4) != 0) {
        for (size_t i = 0; i < scheme; i++) other[i] = url[i] >= 'a' && url[i] <= 'z' ? (char)(url[i] - 0x20) : url[i];
        method = other;
    }
    put_method(&w, method);
    if (!url) return;
    authority = authority ? authority + 3 : url;
    size_t length = strcspn(authority, "/?#"), host = length;
    while (host > 0 && authority[host - 1] != '@') host--;
    put_host(&w, authority + host, length - host);
    put_path(&w, authority + length);
}

void si__pattern_path(const char *method, const char *path, char *out) {
    writer w = {out, 0, 0};
    out[0] = '\0';
    put_method(&w, method);
    put_path(&w, path ? path : "");
}

/* ---- Redis ---- */

static int is_separator(char c) {
    return c == ':' || c == '/' || c == '|' || c == '{' || c == '}';
}

/* Keys are shown more sparingly than paths: a part with any digit in it is an id, but for versions. */
static int is_key_id(const char *text, size_t length) {
    if (is_id(text, length)) return 1;
    for (size_t i = 0; i < length; i++)
        if (is_digit(text[i])) return !((text[0] | 0x20) == 'v' && i == 1);
    return 0;
}

/* "user:42:name" is user:*:name. Without a part that looks like an id, the last one is taken for it. */
static void put_key(writer *w, const char *key, size_t length) {
    int had_id = 0, segments = 0;
    put(w, " ", 1);
    for (size_t at = 0; at <= length && segments < SEGMENTS_MAX; segments++) {
        size_t start = at;
        while (at < length && !is_separator(key[at])) at++;
        int last = at >= length,
            id = at > start && (is_key_id(key + start, at - start) || (last && segments && !had_id));
        had_id |= id;
        put(w, id ? "*" : key + start, id ? 1 : at - start);
        if (!last && key[at] != '{' && key[at] != '}') put(w, ":", 1);
        at++;
    }
    while (w->length && w->out[w->length - 1] == ' ') w->out[--w->length] = '\0';
}

/* What follows these is no key, or must not be shown. */
static const char *const keyless[] = {
    "AUTH",       "HELLO",     "ECHO",     "PING",     "SELECT",     "EVAL",     "EVALSHA",   "EVAL_RO",
    "EVALSHA_RO", "SCRIPT",    "CONFIG",   "ACL",      "CLIENT",     "MIGRATE",  "SWAPDB",    "SLAVEOF",
    "MODULE",     "REPLICAOF", "DEBUG",    "FUNCTION", "FCALL",      "FCALL_RO", "CLUSTER",   "INFO",
    "COMMAND",    "MONITOR",   "SENTINEL", "LATENCY",  "MEMORY",     "OBJECT",   "XGROUP",    "XINFO",
    "SHUTDOWN",   "WAIT",      "FLUSHDB",  "FLUSHALL", "SCAN",       "KEYS",     "RANDOMKEY", "FAILOVER",
    "PSUBSCRIBE", "PUBSUB",    "SLOWLOG",  "XREAD",    "XREADGROUP", NULL};

void si__pattern_command(const char *command, size_t command_bytes, const char *key, size_t key_bytes, char *out) {
    char name[32];
    size_t length = 0;
    writer w = {out, 0, 0};
    out[0] = '\0';
    for (; length < command_bytes && length < sizeof name - 1; length++) {
        char c = command[length];
        if (c >= 'a' && c <= 'z') c = (char)(c - 0x20);
        if (!is_letter(c) && !is_digit(c) && c != '.' && c != '_' && c != '-') break;
        name[length] = c;
    }
    name[length] = '\0';
    if (length == 0 || length != command_bytes || is_id(name, length)) {
        put(&w, "COMMAND", 7);
        return;
    }
    put(&w, name, length);
    for (const char *const *none = keyless; *none; none++)
        if (strcmp(name, *none) == 0) return;
    if (key && key_bytes) put_key(&w, key, key_bytes < 256 ? key_bytes : 256);
}
