/* Parsers for the host's files. Called by host.c; fed anything by a fuzzer. */
#include "host_stat.h"

#include <string.h>

#include "native/procfile.h"

static int take_numbers(const char **at, const char *end, uint64_t *out, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!si__text_number(at, end, &out[i])) return 0;
    return 1;
}

int si__cpu_ticks_parse(const char *text, size_t length, si__cpu_ticks *out) {
    const char *at = text, *end = text + length, *line, *line_end;
    while (si__text_line(&at, end, &line, &line_end)) {
        uint64_t n[8];
        if (!si__text_word(&line, line_end, "cpu ")) continue;
        if (!take_numbers(&line, line_end, n, 8)) return 0;
        *out = (si__cpu_ticks){n[0], n[1], n[2], n[3], n[4], n[5] + n[6], n[7]};
        return 1;
    }
    return 0;
}

uint64_t si__cpu_ticks_total(const si__cpu_ticks *t) {
    return t->user + t->nice + t->system + t->idle + t->iowait + t->irq + t->steal;
}

int si__load_average_parse(const char *text, size_t length, double load[3]) {
    const char *at = text, *end = text + length;
    for (int i = 0; i < 3; i++)
        if (!si__text_decimal(&at, end, &load[i])) return 0;
    return 1;
}

int si__network_parse(const char *text, size_t length, si__bytes_moved *out) {
    const char *at = text, *end = text + length, *line, *line_end;
    int seen_header = 0;
    *out = (si__bytes_moved){0};
    while (si__text_line(&at, end, &line, &line_end)) {
        const char *colon = memchr(line, ':', (size_t)(line_end - line));
        if (!colon) { /* two lines of headings */
            seen_header |= memmem(line, (size_t)(line_end - line), "bytes", 5) != NULL;
            continue;
        }
        while (line < colon && *line == ' ') line++;
        if (colon - line == 2 && memcmp(line, "lo", 2) == 0) continue;
        uint64_t
            n[11]; /* receive: bytes packets errs drop fifo frame compressed multicast; transmit: bytes packets errs */
        const char *numbers = colon + 1;
        if (!take_numbers(&numbers, line_end, n, 11)) continue;
        out->in += n[0];
        out->out += n[8];
        out->errors += n[2] + n[10];
    }
    return seen_header;
}

static int starts_with_any(const char *name, size_t length, const char *const *prefixes) {
    for (; *prefixes; prefixes++) {
        size_t n = strlen(*prefixes);
        if (length >= n && memcmp(name, *prefixes, n) == 0) return 1;
    }
    return 0;
}

static int is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Partitions follow their disk: vda1 after vda, nvme0n1p2 after nvme0n1. */
static int is_partition_of(const char *name, size_t length, const char *disk, size_t disk_length) {
    if (disk_length == 0 || length <= disk_length || memcmp(name, disk, disk_length) != 0) return 0;
    size_t at = disk_length;
    if (is_digit(disk[disk_length - 1])) {
        if (name[at] != 'p' || ++at == length) return 0;
    }
    while (at < length && is_digit(name[at])) at++;
    return at == length;
}

int si__disks_parse(const char *text, size_t length, si__bytes_moved *out) {
    static const char *const not_disks[] = {"loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", NULL};
    const char *at = text, *end = text + length, *line, *line_end, *disk = "";
    size_t disk_length = 0;
    int understood = 0;
    *out = (si__bytes_moved){0};
    while (si__text_line(&at, end, &line, &line_end)) {
        uint64_t n[7]; /* reads merged sectors ms, writes merged sectors */
        const char *numbers = line;
        uint64_t device[2]; /* major, minor */
        if (!take_numbers(&numbers, line_end, device, 2)) continue;
        while (numbers < line_end && *numbers == ' ') numbers++;
        const char *name = numbers;
        if (!si__text_skip(&numbers, line_end)) continue;
        size_t name_length = (size_t)(numbers - name);
        if (!take_numbers(&numbers, line_end, n, 7)) continue;
        understood = 1;
        if (starts_with_any(name, name_length, not_disks)) continue;
        if (is_partition_of(name, name_length, disk, disk_length)) continue;
        disk = name;
        disk_length = name_length;
        out->in += n[2] * 512; /* sectors of 512 bytes, whatever the disk's own are */
        out->out += n[6] * 512;
    }
    return understood;
}

int si__paging_parse(const char *text, size_t length, si__paging *out) {
    const char *at = text, *end = text + length, *line, *line_end;
    unsigned found = 0;
    *out = (si__paging){0};
    while (si__text_line(&at, end, &line, &line_end)) {
        if (si__text_word(&line, line_end, "pswpin ")) found += si__text_number(&line, line_end, &out->pages_in);
        if (si__text_word(&line, line_end, "pswpout ")) found += si__text_number(&line, line_end, &out->pages_out);
        if (si__text_word(&line, line_end, "pgmajfault "))
            found += si__text_number(&line, line_end, &out->major_faults);
    }
    return found == 3;
}

int si__pressure_parse(const char *text, size_t length, uint64_t *some_us, uint64_t *full_us) {
    const char *at = text, *end = text + length, *line, *line_end;
    int found = 0;
    *some_us = *full_us = 0;
    while (si__text_line(&at, end, &line, &line_end)) {
        const char *total = memmem(line, (size_t)(line_end - line), "total=", 6);
        if (!total) continue;
        total += 6;
        if (si__text_word(&line, line_end, "some ")) found |= si__text_number(&total, line_end, some_us);
        if (si__text_word(&line, line_end, "full ")) (void)si__text_number(&total, line_end, full_us);
    }
    return found;
}
