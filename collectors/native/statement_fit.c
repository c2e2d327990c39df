/*
 * Statements that are longer than a name: the verb and the tables are to stay readable. Pure; host threads.
 *
 * First the columns between SELECT and FROM give way, then what is in parentheses, then the end.
 */
#include "statement_fit.h"

#include <string.h>
#include <strings.h>

#include "region.h"

/* The length of the UTF-8 character at `text`; 0: none, or one that should not be shown. */
static size_t character(const unsigned char *text, size_t left) {
    if (text[0] < 0x80) return text[0] >= 0x20 && text[0] != 0x7f;
    size_t bytes = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    if (text[0] < 0xc2 || text[0] > 0xf4 || bytes > left) return 0;
    for (size_t i = 1; i < bytes; i++)
        if ((text[i] & 0xc0) != 0x80) return 0;
    if (text[0] == 0xe0 && text[1] < 0xa0) return 0;
    if (text[0] == 0xed && text[1] > 0x9f) return 0; /* surrogates */
    if (text[0] == 0xf0 && text[1] < 0x90) return 0;
    if (text[0] == 0xf4 && text[1] > 0x8f) return 0;
    return bytes;
}

void si__statement_copy(char *out, const char *text, size_t length) {
    size_t used = 0;
    for (size_t at = 0; at < length;) {
        size_t bytes = character((const unsigned char *)text + at, length - at);
        size_t wanted = bytes ? bytes : 1;
        if (used + wanted > SI__NAME_BYTES - 1) break;
        if (bytes)
            memcpy(out + used, text + at, bytes);
        else
            out[used] = '_';
        used += wanted;
        at += wanted;
    }
    out[used] = '\0';
}

/* Puts "..." in place of text[from, to). */
static size_t elide(char *text, size_t length, size_t from, size_t to) {
    memmove(text + from + 3, text + to, length - to);
    memcpy(text + from, "...", 3);
    return length - (to - from) + 3;
}

static size_t without_columns(char *text, size_t length) {
    int depth = 0;
    if (length < 7 || strncasecmp(text, "SELECT ", 7) != 0) return length;
    for (size_t at = 7; at + 6 <= length; at++) {
        if (text[at] == '(') depth++;
        if (text[at] == ')') depth--;
        if (depth == 0 && strncasecmp(text + at, " FROM ", 6) == 0)
            return at > 10 ? elide(text, length, 7, at) : length;
    }
    return length;
}

static int has_table(const char *text, size_t length) {
    for (size_t at = 0; at + 5 <= length; at++)
        if (strncasecmp(text + at, "FROM ", 5) == 0) return 1;
    return 0;
}

static size_t without_groups(char *text, size_t length) {
    for (size_t at = 0; at < length && length >= SI__NAME_BYTES; at++) {
        if (text[at] != '(') continue;
        size_t end = at + 1;
        for (int depth = 1; end < length; end++) {
            depth += (text[end] == '(') - (text[end] == ')');
            if (depth == 0) break;
        }
        if (end == length || end - at - 1 <= 3 || has_table(text + at, end - at)) continue;
        length = elide(text, length, at + 1, end);
    }
    return length;
}

void si__statement_fit(char *text, size_t length, char *out) {
    if (length >= SI__NAME_BYTES) length = without_columns(text, length);
    if (length >= SI__NAME_BYTES) length = without_groups(text, length);
    if (length < SI__NAME_BYTES) {
        si__statement_copy(out, text, length);
        return;
    }
    size_t kept = SI__NAME_BYTES - 4;
    while (kept && ((unsigned char)text[kept] & 0xc0) == 0x80) kept--;
    memcpy(text + kept, "...", 3);
    si__statement_copy(out, text, kept + 3);
}
