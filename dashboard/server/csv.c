/* CSV for spreadsheets; see csv.h. */
#include "csv.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "../../runtime/report/json.h"

void si__csv_text(FILE *out, int first, const char *text) {
    if (!first) fputc(',', out);
    int formula = *text && strchr("=+-@\t\r", *text) != NULL;
    if (!formula && !strpbrk(text, ",\"\r\n")) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    if (formula) fputc('\'', out);
    for (; *text; text++) {
        if (*text == '"') fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

void si__csv_number(FILE *out, int first, double value) {
    char text[40] = "";
    if (!first) fputc(',', out);
    if (isfinite(value)) si__json_number(value, text);
    fputs(text, out);
}

void si__csv_time(FILE *out, int64_t time_ms) {
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    char text[40] = "";
    if (gmtime_r(&seconds, &parts)) strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    fprintf(out, "%s.%03dZ,%lld", text, (int)(time_ms % 1000), (long long)time_ms);
}

void si__csv_end(FILE *out) {
    fputs("\r\n", out);
}
