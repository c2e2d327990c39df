/*
 * UTF-8 decoding by the table of well-formed sequences (Unicode 15, table 3-7).
 *
 * Called by the JSON and MessagePack codecs and by message building, on any thread.
 */
#include "utf8.h"

#include <stdlib.h>

size_t si__utf8_decode(const char *text, size_t length, uint32_t *code) {
    const unsigned char *s = (const unsigned char *)text;
    size_t need;
    uint32_t value, lowest;
    if (s[0] < 0x80) {
        *code = s[0];
        return 1;
    }
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        need = 2, value = s[0] & 0x1fu, lowest = 0x80;
    } else if ((s[0] & 0xf0) == 0xe0) {
        need = 3, value = s[0] & 0x0fu, lowest = 0x800;
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        need = 4, value = s[0] & 0x07u, lowest = 0x10000;
    } else {
        return 0;
    }
    if (length < need) return 0;
    for (size_t i = 1; i < need; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        value = value << 6 | (s[i] & 0x3fu);
    }
    if (value < lowest || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return 0;
    *code = value;
    return need;
}

size_t si__utf8_encode(uint32_t code, char *out) {
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) code = 0xfffd;
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    out[0] = (char)((0xf00u >> length) | code); /* 0xc0, 0xe0, 0xf0 in the low byte */
    return length;
}

char *si__utf8_repaired(const char *text, size_t length) {
    char *copy = malloc(length + 1);
    if (!copy) return NULL;
    size_t i = 0;
    while (i < length) {
        uint32_t code;
        size_t n = si__utf8_decode(text + i, length - i, &code);
        if (n == 0 || code == 0) {
            copy[i++] = '?';
            continue;
        }
        for (size_t end = i + n; i < end; i++) copy[i] = text[i];
    }
    copy[length] = '\0';
    return copy;
}
