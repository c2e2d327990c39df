/* Durations ("5m", "1h30m") and sizes ("8MiB") as people write them in rules. Pure; any thread. */
#ifndef SI_SCRIPT_UNITS_H
#define SI_SCRIPT_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* "250ms", "90s", "1h30m", "7d", "2w". Milliseconds into *out. 0, or SI_EFORMAT. Whole and decimal numbers ("1.5h"). */
int si__duration_parse(const char *text, int64_t *out_ms);
/* "512KiB", "8 MiB", "1GB", "100" (bytes). 0, or SI_EFORMAT. */
int si__size_parse(const char *text, double *out_bytes);
/* Writes a duration the way people say it: "250 ms", "45 s", "5 min", "2 h 30 min", "3 d". Returns out. */
const char *si__duration_format(int64_t ms, char *out, size_t out_bytes);

#endif
