/*
 * Fuzzes what a dashboard does with a report: decompress (when the first byte is even), decode, and encode what came
 * out again, which must decode to as much as before. Any crash, hang or leak is a finding.
 */
#include <stdint.h>
#include <stdlib.h>

#include "../c/report_sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const uint8_t *data, size_t size) {
    si__report *report, *again;
    char error[200];
    uint8_t *bytes;
    size_t length;
    if (si__report_decode(data, size, &report, error, sizeof error)) return;
    if (si__report_encode(report, &bytes, &length)) abort();
    if (si__report_decode(bytes, length, &again, error, sizeof error)) abort();
    if (again->point_count != report->point_count || again->profile_count != report->profile_count ||
        again->segment_count != report->segment_count || again->error_count != report->error_count ||
        again->alert_count != report->alert_count || again->rule_count != report->rule_count)
        abort();
    for (size_t i = 0; i < report->profile_count; i++)
        if (si__calltree_node_count(again->profiles[i].tree) != si__calltree_node_count(report->profiles[i].tree))
            abort();
    free(bytes);
    si__report_free(again);
    si__report_free(report);
}

static void decode_changed(const uint8_t *data, size_t size) {
    static uint8_t *real;
    static size_t length;
    if (!real) {
        si__report *report = sample_report(6);
        if (si__report_encode(report, &real, &length)) abort();
        si__report_free(report);
    }
    uint8_t *changed = malloc(length);
    memcpy(changed, real, length);
    for (size_t i = 0; i + 2 < size; i += 3) changed[((size_t)data[i] << 8 | data[i + 1]) % length] = data[i + 2];
    decode(changed, length);
    free(changed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *bytes;
    size_t length;
    if (size == 0) return 0;
    if (data[0] % 3 == 2) {
        decode_changed(data + 1, size - 1);
    } else if (data[0] % 3 == 1) {
        decode(data + 1, size - 1);
    } else if (!si__report_decompress(data + 1, size - 1, 1 << 20, &bytes, &length)) {
        decode(bytes, length);
        free(bytes);
    }
    return 0;
}
