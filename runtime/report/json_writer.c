/*
 * The JSON writer: one growing buffer, commas placed by a flag, strings made safe.
 *
 * Called by notify and the dashboard; each writer by one thread.
 */
#include <locale.h>
#include <math.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "utf8.h"

static char *reserve(si__json_writer *w, size_t more) {
    if (w->failed) return NULL;
    if (w->capacity - w->length < more) {
        size_t capacity = w->capacity ? w->capacity : 256;
        while (capacity - w->length < more) {
            if (capacity > SIZE_MAX / 2) {
                w->failed = 1;
                return NULL;
            }
            capacity *= 2;
        }
        char *moved = realloc(w->text, capacity);
        if (!moved) {
            w->failed = 1;
            return NULL;
        }
        w->text = moved;
        w->capacity = capacity;
    }
    return w->text + w->length;
}

static void append(si__json_writer *w, const char *bytes, size_t length) {
    char *to = reserve(w, length);
    if (!to) return;
    memcpy(to, bytes, length);
    w->length += length;
}

static void append_quoted(si__json_writer *w, const char *text, size_t length) {
    append(w, "\"", 1);
    for (size_t i = 0; i < length;) {
        size_t plain = i; /* the longest run that goes out unchanged */
        while (plain < length && (unsigned char)text[plain] >= 0x20 && (unsigned char)text[plain] < 0x7f &&
               text[plain] != '"' && text[plain] != '\\' && text[plain] != '<')
            plain++;
        append(w, text + i, plain - i);
        if ((i = plain) == length) break;
        uint32_t code;
        size_t n = si__utf8_decode(text + i, length - i, &code);
        if (n == 0) code = 0xfffd;
        i += n ? n : 1;
        char out[8];
        if (code == '"' || code == '\\') {
            out[0] = '\\';
            out[1] = (char)code;
            append(w, out, 2);
        } else if (code == '\n') {
            append(w, "\\n", 2);
        } else if (code < 0x20 || code == '<' || code == 0x7f || code == 0x2028 || code == 0x2029) {
            append(w, out, (size_t)snprintf(out, sizeof out, "\\u%04x", code));
        } else {
            append(w, out, si__utf8_encode(code, out));
        }
    }
    append(w, "\"", 1);
}

static void before_value(si__json_writer *w, const char *key) {
    if (w->comma) append(w, ",", 1);
    w->comma = 1;
    if (!key) return;
    append_quoted(w, key, strlen(key));
    append(w, ":", 1);
}

void si__json_object_begin(si__json_writer *w, const char *key) {
    before_value(w, key);
    append(w, "{", 1);
    w->comma = 0;
}

void si__json_object_end(si__json_writer *w) {
    append(w, "}", 1);
    w->comma = 1;
}

void si__json_array_begin(si__json_writer *w, const char *key) {
    before_value(w, key);
    append(w, "[", 1);
    w->comma = 0;
}

void si__json_array_end(si__json_writer *w) {
    append(w, "]", 1);
    w->comma = 1;
}

void si__json_put_text(si__json_writer *w, const char *key, const char *text, size_t length) {
    before_value(w, key);
    append_quoted(w, text, length);
}

void si__json_put_string(si__json_writer *w, const char *key, const char *text) {
    if (text)
        si__json_put_text(w, key, text, strlen(text));
    else
        si__json_put_null(w, key);
}

void si__json_put_raw(si__json_writer *w, const char *key, const char *json, size_t length) {
    before_value(w, key);
    append(w, json, length);
}

void si__json_put_int(si__json_writer *w, const char *key, int64_t value) {
    char text[24];
    si__json_put_raw(w, key, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)value));
}

void si__json_put_uint(si__json_writer *w, const char *key, uint64_t value) {
    char text[24];
    si__json_put_raw(w, key, text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)value));
}

size_t si__json_number(double value, char out[40]) {
    if (fabs(value) < 9007199254740992.0 && value == (double)(int64_t)value && !(value == 0 && signbit(value)))
        return (size_t)snprintf(out, 40, "%lld", (long long)value);
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* a host may have set a decimal comma */
    locale_t before = plain ? uselocale(plain) : (locale_t)0;
    int length = 0;
    for (int precision = 15; precision <= 17; precision++) {
        length = snprintf(out, 40, "%.*g", precision, value);
        if (strtod(out, NULL) == value) break;
    }
    if (plain) {
        uselocale(before);
        freelocale(plain);
    }
    return (size_t)length;
}

void si__json_put_number(si__json_writer *w, const char *key, double value) {
    char text[40];
    if (isfinite(value))
        si__json_put_raw(w, key, text, si__json_number(value, text));
    else
        si__json_put_null(w, key);
}

void si__json_put_bool(si__json_writer *w, const char *key, int value) {
    si__json_put_raw(w, key, value ? "true" : "false", value ? 4 : 5);
}

void si__json_put_null(si__json_writer *w, const char *key) {
    si__json_put_raw(w, key, "null", 4);
}

int si__json_take(si__json_writer *w, char **out, size_t *length) {
    char *end = reserve(w, 1);
    if (!end) {
        si__json_discard(w);
        *out = NULL;
        if (length) *length = 0;
        return SI_ENOMEM;
    }
    *end = '\0';
    *out = w->text;
    if (length) *length = w->length;
    *w = (si__json_writer){0};
    return SI_OK;
}

void si__json_discard(si__json_writer *w) {
    free(w->text);
    *w = (si__json_writer){0};
}
