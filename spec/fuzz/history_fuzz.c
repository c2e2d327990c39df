/* Fuzzes the history file behind its checksum: what decodes is asked for statistics, fed and encoded again. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/history/history.h"
#include "../../runtime/history/series.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t crc32c(const uint8_t *data, size_t length) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
    }
    return ~crc;
}

static void ask(void *arg, const char *name, si__series *series) {
    int64_t now_ms = *(int64_t *)arg;
    si__baseline baseline;
    si__trend trend;
    (void)name;
    for (int statistic = SI__STAT_AVG; statistic <= SI__STAT_PERCENTILE; statistic++)
        for (int64_t window_ms = 60000; window_ms < 700000000; window_ms *= 7)
            si__series_window(series, (si__statistic)statistic, now_ms, window_ms, 95);
    si__series_baseline(series, now_ms, 86400000, 1, 0, &baseline);
    si__series_theil_sen(series, now_ms, 86400000, &trend);
    si__series_median_last(series, 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *framed = malloc(size + 12), *again = NULL;
    size_t length;
    int64_t now_ms = 1700000000000;
    si__history *history = si__history_new();
    if (!framed || !history) abort();
    memcpy(framed, "SIHIST1\n", 8);
    if (size) memcpy(framed + 8, data, size);
    uint32_t crc = crc32c(framed, size + 8);
    memcpy(framed + 8 + size, &crc, 4);
    if (si__history_decode(history, framed, size + 12) == 0) {
        for (int kind = 0; kind < SI__SERIES_KINDS; kind++)
            si__history_each(history, (si__series_kind)kind, ask, &now_ms);
        si__history_add(history, SI__SERIES_METRIC, "x", now_ms, 1);
        if (si__history_encode(history, &again, &length) != 0) abort();
        si__history *twin = si__history_new();
        if (si__history_decode(twin, again, length) != 0) abort(); /* what we write we must read */
        si__history_free(twin);
    }
    free(again);
    free(framed);
    si__history_free(history);
    return 0;
}
