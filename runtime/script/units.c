/* Durations and sizes as people write them. Called by bindings at load and at evaluation; pure. */
#include "units.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <si/si.h>

typedef struct unit {
    const char *name;
    double factor;
} unit;

static const unit duration_units[] = {{"ms", 1},     {"s", 1000},    {"m", 60e3},
                                      {"h", 3600e3}, {"d", 86400e3}, {"w", 604800e3}};
static const unit size_units[] = {
    {"B", 1},     {"kB", 1e3},   {"KB", 1e3},        {"MB", 1e6},           {"GB", 1e9},
    {"TB", 1e12}, {"KiB", 1024}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {"TiB", 1099511627776.0}};

/* Digits with at most one point; no sign, no exponent, no locale. */
static const char *parse_number(const char *at, double *out) {
    double value = 0, place = 1;
    int digits = 0, fraction = 0;
    for (;; at++) {
        if (isdigit((unsigned char)*at)) {
            if (fraction) place /= 10;
            value = fraction ? value + (*at - '0') * place : value * 10 + (*at - '0');
            if (++digits > 15) return NULL;
        } else if (*at == '.' && !fraction) {
            fraction = 1;
        } else {
            break;
        }
    }
    *out = value;
    return digits ? at : NULL;
}

static const char *parse_unit(const char *at, const unit *units, size_t n, double *factor) {
    size_t length = 0;
    while (isalpha((unsigned char)at[length])) length++;
    for (size_t i = 0; i < n; i++)
        if (strlen(units[i].name) == length && memcmp(units[i].name, at, length) == 0) {
            *factor = units[i].factor;
            return at + length;
        }
    return NULL;
}

int si__duration_parse(const char *text, int64_t *out_ms) {
    double total = 0;
    do {
        double value, factor;
        text = parse_number(text, &value);
        if (text) text = parse_unit(text, duration_units, sizeof duration_units / sizeof *duration_units, &factor);
        if (!text) return SI_EFORMAT;
        total += value * factor;
    } while (*text);
    if (total > 3650.0 * 86400e3) return SI_EFORMAT; /* ten years: surely a mistake */
    *out_ms = llround(total);
    return 0;
}

int si__size_parse(const char *text, double *out_bytes) {
    double value, factor = 1;
    text = parse_number(text, &value);
    if (!text) return SI_EFORMAT;
    while (*text == ' ') text++;
    if (*text) text = parse_unit(text, size_units, sizeof size_units / sizeof *size_units, &factor);
    if (!text || *text) return SI_EFORMAT;
    *out_bytes = value * factor;
    return 0;
}

const char *si__duration_format(int64_t ms, char *out, size_t out_bytes) {
    int64_t s = ms / 1000;
    if (ms < 1000)
        snprintf(out, out_bytes, "%lld ms", (long long)ms);
    else if (s < 60)
        snprintf(out, out_bytes, "%lld s", (long long)s);
    else if (s < 3600 && s % 60)
        snprintf(out, out_bytes, "%lld min %lld s", (long long)(s / 60), (long long)(s % 60));
    else if (s < 3600)
        snprintf(out, out_bytes, "%lld min", (long long)(s / 60));
    else if (s < 86400 && s / 60 % 60)
        snprintf(out, out_bytes, "%lld h %lld min", (long long)(s / 3600), (long long)(s / 60 % 60));
    else if (s < 86400)
        snprintf(out, out_bytes, "%lld h", (long long)(s / 3600));
    else
        snprintf(out, out_bytes, "%lld d", (long long)(s / 86400));
    return out;
}
