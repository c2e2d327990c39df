/* Parsers for the files of one process. Called by process.c; fed anything by a fuzzer. */
#include "process_stat.h"

#include <string.h>

#include "native/procfile.h"

int si__process_stat_parse(const char *text, size_t length, si__process_stat *out) {
    const char *at = memrchr(text, ')', length), *end = text + length; /* a name may hold blanks and brackets */
    uint64_t fields[24]; /* from the 4th on: numbers, of which some can be negative */
    if (!at || end - at < 4 || at[1] != ' ') return 0;
    out->state = at[2];
    at += 3;
    for (size_t i = 0; i < 20; i++) {
        while (at < end && *at == ' ') at++;
        if (at < end && *at == '-') at++; /* of those that we want none is negative */
        if (!si__text_number(&at, end, &fields[i])) return 0;
    }
    out->minor_faults = fields[6]; /* field 10 of proc(5) */
    out->major_faults = fields[8];
    out->user_ticks = fields[10];
    out->system_ticks = fields[11];
    out->threads = fields[16];
    out->start_ticks = fields[18];
    out->virtual_bytes = fields[19];
    return 1;
}

/* The number behind a key at the start of a line. */
static int number_behind(const char *text, size_t length, const char *key, uint64_t *value) {
    const char *at = text, *end = text + length, *line, *line_end;
    while (si__text_line(&at, end, &line, &line_end))
        if (si__text_word(&line, line_end, key)) return si__text_number(&line, line_end, value);
    return 0;
}

int si__kib_parse(const char *text, size_t length, const char *key, uint64_t *bytes) {
    uint64_t kib;
    if (!number_behind(text, length, key, &kib) || kib > UINT64_MAX / 1024) return 0;
    *bytes = kib * 1024;
    return 1;
}

int si__switches_parse(const char *text, size_t length, uint64_t *voluntary, uint64_t *involuntary) {
    return number_behind(text, length, "voluntary_ctxt_switches:", voluntary) &&
           number_behind(text, length, "nonvoluntary_ctxt_switches:", involuntary);
}

int si__process_io_parse(const char *text, size_t length, uint64_t *read_bytes, uint64_t *written_bytes) {
    return number_behind(text, length, "read_bytes:", read_bytes) &&
           number_behind(text, length, "write_bytes:", written_bytes);
}

int si__file_limit_parse(const char *text, size_t length, uint64_t *limit) {
    const char *at = text, *end = text + length, *line, *line_end;
    while (si__text_line(&at, end, &line, &line_end)) {
        if (!si__text_word(&line, line_end, "Max open files")) continue;
        while (line < line_end && *line == ' ') line++;
        *limit = 0;
        return si__text_word(&line, line_end, "unlimited") || si__text_number(&line, line_end, limit);
    }
    return 0;
}
