/*
 * Fuzzes the names of statements, URLs and commands: always terminated printable UTF-8 that fits, and what stands in a
 * literal never shows.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../collectors/native/pattern.h"
#include "../../collectors/native/statement.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *name) {
    size_t length = strnlen(name, SI__NAME_BYTES);
    if (length == 0 || length == SI__NAME_BYTES) abort();
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f) abort();
}

/* A literal in front of, and behind, whatever it is. */
static void check_secret(si__dialect dialect, const char *data, size_t size) {
    char text[600], name[SI__NAME_BYTES];
    static const char secret[] = "SELECT 'hunter2', ";
    if (size > 500 || memmem(data, size, "hunter2", 7)) return;
    memcpy(text, secret, sizeof secret - 1);
    memcpy(text + sizeof secret - 1, data, size);
    si__statement_name(dialect, text, sizeof secret - 1 + size, name);
    check(name);
    if (strstr(name, "hunter2")) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char name[SI__NAME_BYTES], *text = malloc(size + 1);
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    for (int d = SI__SQL_POSTGRES; d <= SI__SQL_SQLITE; d++) {
        si__statement_name((si__dialect)d, text, size, name);
        check(name);
        check_secret((si__dialect)d, text, size);
    }
    si__pattern_url("GET", text, name);
    if (strnlen(name, SI__NAME_BYTES) == SI__NAME_BYTES || strpbrk(name, "?#@")) abort();
    si__pattern_path("GET", text, name);
    if (strnlen(name, SI__NAME_BYTES) == SI__NAME_BYTES) abort();
    si__pattern_command(text, size / 2, text + size / 2, size - size / 2, name);
    check(name);
    free(text);
    return 0;
}
