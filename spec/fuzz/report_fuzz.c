/*
 * Fuzzes what a dashboard does with a report: decompress (when the first byte is even), decode, and encode what came
 * out again, which must decode to as much as before. Any crash, hang or leak is a finding.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../c/report_sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Trees as they come say the same as call trees do. */
static void compare(const si__wire_tree *wire, const si__calltree *tree, const si__report *report) {
    if (!wire != !tree) abort();
    if (!wire) return;
    if (wire->total_value != si__calltree_total_value(tree) || wire->total_count != si__calltree_total_count(tree))
        abort();
    for (uint32_t i = 1; i < wire->node_count; i++)
        if (wire->parents[i] >= i || wire->frames[i] >= report->names->frame_count) abort();
    for (size_t i = 0; i < wire->value_count; i++)
        if (wire->values[i].node >= wire->node_count) abort();
}

static void decode_wire(const uint8_t *data, size_t size, const si__report *report) {
    char error[200];
    si__report *wire;
    uint8_t *copy = malloc(size + 1);
    memcpy(copy, data, size);
    if (si__report_decode_wire(copy, size, &wire, error, sizeof error)) return;
    for (size_t i = 0; report && i < report->profile_count; i++)
        compare(wire->profiles[i].wire, report->profiles[i].tree, wire);
    for (size_t i = 0; report && i < report->segment_count; i++)
        compare(wire->segments[i].wire, report->segments[i].tree, wire);
    for (size_t i = 0; report && i < report->error_count; i++)
        compare(wire->errors[i].wire, report->errors[i].tree, wire);
    for (size_t i = 0; i < wire->names->frame_count; i++) {
        const si__wire_frame *f = &wire->names->frames[i];
        size_t most = wire->names->text_count;
        if (f->function >= most || f->file >= most || f->module >= most) abort();
    }
    si__report_free(wire);
}

static void decode(const uint8_t *data, size_t size) {
    si__report *report, *again;
    char error[200];
    uint8_t *bytes;
    size_t length;
    if (si__report_decode(data, size, &report, error, sizeof error)) {
        decode_wire(data, size, NULL);
        return;
    }
    decode_wire(data, size, report);
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
