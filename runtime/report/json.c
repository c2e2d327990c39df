/*
 * The JSON parser: recursive descent over bounded input into a tree that lives in one list of blocks.
 *
 * Called by notify (channels), upload (answers) and the dashboard (request bodies), on any thread. The input is
 * hostile: depth, size and number of values are capped, and nothing depends on the process's locale.
 */
#include "json.h"

#include <locale.h>
#include <math.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

#define BLOCK_BYTES ((size_t)4096)

typedef struct block {
    struct block *next;
    size_t used, size;
    _Alignas(16) char bytes[];
} block;

typedef struct document { /* the root comes first, so that freeing needs the root alone */
    si__json root;
    block *blocks;
} document;

typedef struct parser {
    const char *start, *at, *end;
    document *doc;
    size_t values;
    int depth;
    int status;
    char *error;
    size_t error_bytes;
} parser;

static int fail(parser *p, int status, const char *what) {
    if (p->status) return p->status;
    p->status = status;
    size_t line = 1;
    for (const char *c = p->start; c < p->at && c < p->end; c++) line += *c == '\n';
    if (p->error_bytes) snprintf(p->error, p->error_bytes, "line %zu: %s", line, what);
    return status;
}

static void *block_alloc(parser *p, size_t size, size_t align) {
    block *b = p->doc->blocks;
    if (b) {
        size_t from = (b->used + align - 1) & ~(align - 1);
        if (from <= b->size && size <= b->size - from) {
            b->used = from + size;
            return b->bytes + from;
        }
    }
    size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
    b = malloc(sizeof *b + room);
    if (!b) {
        fail(p, SI_ENOMEM, "out of memory");
        return NULL;
    }
    b->size = room;
    b->used = size;
    b->next = p->doc->blocks;
    p->doc->blocks = b;
    return b->bytes;
}

static void skip_space(parser *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r')) p->at++;
}

static int take(parser *p, char c) {
    if (p->at >= p->end || *p->at != c) return 0;
    p->at++;
    return 1;
}

static int hex4(parser *p, uint32_t *out) {
    uint32_t value = 0;
    if (p->end - p->at < 4) return fail(p, SI_EFORMAT, "\\u needs four hex digits");
    for (int i = 0; i < 4; i++) {
        char c = *p->at++;
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (uint32_t)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F')
            digit = (uint32_t)(c - 'A') + 10;
        else
            return fail(p, SI_EFORMAT, "\\u needs four hex digits");
        value = value << 4 | digit;
    }
    *out = value;
    return 0;
}

/* What follows a backslash; writes at most 4 bytes (a replaced lone surrogate needs 3 for the 6 it was written with).
 */
static int parse_escape(parser *p, char **out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (p->at >= p->end) return fail(p, SI_EFORMAT, "string does not end");
    char c = *p->at++;
    const char *simple = memchr(from, c, sizeof from - 1);
    if (simple) {
        *(*out)++ = to[simple - from];
        return 0;
    }
    if (c != 'u') return fail(p, SI_EFORMAT, "unknown escape in string");
    uint32_t code = 0;
    if (hex4(p, &code)) return p->status;
    if (code >= 0xd800 && code <= 0xdbff && p->end - p->at >= 6 && p->at[0] == '\\' && p->at[1] == 'u') {
        const char *here = p->at;
        uint32_t low = 0;
        p->at += 2;
        if (hex4(p, &low)) return p->status;
        if (low >= 0xdc00 && low <= 0xdfff)
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        else
            p->at = here;
    }
    if (code == 0) return fail(p, SI_EFORMAT, "NUL in string");
    *out += si__utf8_encode(code, *out);
    return 0;
}

/* At the opening quote. An invalid byte grows to three, hence the size of the buffer. */
static const char *parse_string(parser *p, size_t *length) {
    const char *scan = ++p->at;
    size_t invalid = 0;
    while (scan < p->end && *scan != '"') {
        if ((unsigned char)*scan >= 0x80) invalid++;
        scan += *scan == '\\' ? 2 : 1;
    }
    if (scan >= p->end) {
        fail(p, SI_EFORMAT, "string does not end");
        return NULL;
    }
    char *text = block_alloc(p, (size_t)(scan - p->at) + 2 * invalid + 1, 1);
    char *out = text;
    while (text && !p->status && *p->at != '"') {
        unsigned char c = (unsigned char)*p->at;
        if (c == '\\') {
            p->at++;
            parse_escape(p, &out);
        } else if (c < 0x20) {
            fail(p, SI_EFORMAT, "control character in string");
        } else {
            uint32_t code;
            size_t n = si__utf8_decode(p->at, (size_t)(p->end - p->at), &code);
            out += si__utf8_encode(n ? code : 0xfffd, out);
            p->at += n ? n : 1;
        }
    }
    if (!text || p->status) return NULL;
    p->at++;
    *out = '\0';
    if (length) *length = (size_t)(out - text);
    return text;
}

static size_t digits(parser *p) {
    const char *from = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9') p->at++;
    return (size_t)(p->at - from);
}

static int parse_number(parser *p, si__json *value) {
    const char *from = p->at;
    int integer = 1;
    take(p, '-');
    int zero = p->at < p->end && *p->at == '0';
    size_t n = digits(p);
    if (n == 0 || (zero && n > 1)) return fail(p, SI_EFORMAT, "malformed number");
    if (take(p, '.')) {
        integer = 0;
        if (!digits(p)) return fail(p, SI_EFORMAT, "malformed number");
    }
    if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
        integer = 0;
        p->at++;
        if (!take(p, '+')) take(p, '-');
        if (!digits(p)) return fail(p, SI_EFORMAT, "malformed number");
    }
    char text[64];
    size_t length = (size_t)(p->at - from);
    if (length >= sizeof text) return fail(p, SI_ELIMIT, "number with too many digits");
    memcpy(text, from, length);
    text[length] = '\0';
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* a host may have set a decimal comma */
    if (!plain) return fail(p, SI_ENOMEM, "out of memory");
    value->number = strtod_l(text, NULL, plain);
    freelocale(plain);
    if (!isfinite(value->number)) return fail(p, SI_EFORMAT, "number out of range");
    value->type = SI__JSON_NUMBER;
    if (integer && n <= 18) {
        value->is_integer = 1;
        value->integer = strtoll(text, NULL, 10);
    }
    return 0;
}

static int parse_value(parser *p, si__json *value);

static int parse_members(parser *p, si__json *value, int object) {
    char close = object ? '}' : ']';
    si__json **end = &value->first;
    value->type = object ? SI__JSON_OBJECT : SI__JSON_ARRAY;
    p->at++;
    if (++p->depth > SI__JSON_MAX_DEPTH) return fail(p, SI_ELIMIT, "nested too deeply");
    skip_space(p);
    if (take(p, close)) {
        p->depth--;
        return 0;
    }
    for (;;) {
        si__json *child = block_alloc(p, sizeof *child, _Alignof(si__json));
        if (!child) return p->status;
        memset(child, 0, sizeof *child);
        skip_space(p);
        if (object) {
            if (p->at >= p->end || *p->at != '"') return fail(p, SI_EFORMAT, "expected a quoted name");
            if (!(child->key = parse_string(p, NULL))) return p->status;
            skip_space(p);
            if (!take(p, ':')) return fail(p, SI_EFORMAT, "expected ':'");
        }
        if (parse_value(p, child)) return p->status;
        *end = child;
        end = &child->next;
        value->count++;
        skip_space(p);
        if (take(p, ',')) continue;
        if (!take(p, close)) return fail(p, SI_EFORMAT, object ? "expected ',' or '}'" : "expected ',' or ']'");
        p->depth--;
        return 0;
    }
}

static int parse_word(parser *p, si__json *value, const char *word, si__json_type type, int boolean) {
    size_t n = strlen(word);
    if ((size_t)(p->end - p->at) < n || memcmp(p->at, word, n) != 0) return fail(p, SI_EFORMAT, "expected a value");
    p->at += n;
    value->type = type;
    value->boolean = boolean;
    return 0;
}

static int parse_value(parser *p, si__json *value) {
    value->text = "";
    skip_space(p);
    if (p->at >= p->end) return fail(p, SI_EFORMAT, "ends too early");
    if (++p->values > SI__JSON_MAX_VALUES) return fail(p, SI_ELIMIT, "too many values");
    switch (*p->at) {
    case '{':
        return parse_members(p, value, 1);
    case '[':
        return parse_members(p, value, 0);
    case 't':
        return parse_word(p, value, "true", SI__JSON_BOOL, 1);
    case 'f':
        return parse_word(p, value, "false", SI__JSON_BOOL, 0);
    case 'n':
        return parse_word(p, value, "null", SI__JSON_NULL, 0);
    case '"': {
        const char *text = parse_string(p, &value->length);
        if (!text) return p->status;
        value->text = text;
        value->type = SI__JSON_STRING;
        return 0;
    }
    default:
        if (*p->at == '-' || (*p->at >= '0' && *p->at <= '9')) return parse_number(p, value);
        return fail(p, SI_EFORMAT, "expected a value");
    }
}

int si__json_parse(const char *text, size_t length, si__json **out, char *error, size_t error_bytes) {
    *out = NULL;
    parser p = {.start = text, .at = text, .end = text + length, .error = error, .error_bytes = error_bytes};
    if (error_bytes) error[0] = '\0';
    if (length > SI__JSON_MAX_BYTES) return fail(&p, SI_ELIMIT, "longer than 1 MiB");
    if (!(p.doc = calloc(1, sizeof *p.doc))) return fail(&p, SI_ENOMEM, "out of memory");
    if (!parse_value(&p, &p.doc->root)) {
        skip_space(&p);
        if (p.at != p.end) fail(&p, SI_EFORMAT, "something follows the value");
    }
    if (p.status) {
        si__json_free(&p.doc->root);
        return p.status;
    }
    *out = &p.doc->root;
    return SI_OK;
}

void si__json_free(si__json *root) {
    if (!root) return;
    document *doc = (document *)root;
    for (block *b = doc->blocks; b;) {
        block *next = b->next;
        free(b);
        b = next;
    }
    free(doc);
}

const si__json *si__json_get(const si__json *value, const char *key) {
    const si__json *found = NULL;
    if (!value || value->type != SI__JSON_OBJECT) return NULL;
    for (const si__json *child = value->first; child; child = child->next)
        if (!strcmp(child->key, key)) found = child;
    return found;
}

const char *si__json_get_string(const si__json *object, const char *key, const char *fallback) {
    const si__json *value = si__json_get(object, key);
    return value && value->type == SI__JSON_STRING ? value->text : fallback;
}

int64_t si__json_get_integer(const si__json *object, const char *key, int64_t fallback) {
    const si__json *value = si__json_get(object, key);
    return value && value->type == SI__JSON_NUMBER && value->is_integer ? value->integer : fallback;
}

double si__json_get_number(const si__json *object, const char *key, double fallback) {
    const si__json *value = si__json_get(object, key);
    return value && value->type == SI__JSON_NUMBER ? value->number : fallback;
}

int si__json_get_bool(const si__json *object, const char *key, int fallback) {
    const si__json *value = si__json_get(object, key);
    return value && value->type == SI__JSON_BOOL ? value->boolean : fallback;
}
