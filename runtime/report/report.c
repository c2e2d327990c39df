/*
 * The report model: makes, grows and frees it. The wire form is in encode.c and decode.c.
 *
 * Built by the runtime on its loop, or by decode on the dashboard's threads; one owner at a time.
 */
#include "report.h"

#include <si/si.h>
#include <stdlib.h>
#include <string.h>

si__report *si__report_new(void) {
    return calloc(1, sizeof(si__report));
}

char *si__report_strdup(const char *text) {
    return strdup(text ? text : "");
}

static void context_clear(si__context *context) {
    free(context->app);
    free(context->environment);
    free(context->app_version);
    free(context->host);
    free(context->runtime_type);
    free(context->runtime_version);
    free(context->build_id);
    free(context->run_id);
    free(context->agent_version);
    free(context->os);
    for (size_t i = 0; i < context->tag_count; i++) free(context->tags[i]);
    free(context->tags);
}

static void telemetry_clear(si__report *report) {
    for (size_t i = 0; i < report->point_count; i++) {
        free(report->points[i].name);
        free(report->points[i].unit);
    }
    for (size_t i = 0; i < report->profile_count; i++) {
        si__report_profile *profile = &report->profiles[i];
        free(profile->type);
        free(profile->unit);
        free(profile->trigger);
        free(profile->workload);
        si__calltree_free(profile->tree);
        si__wire_tree_free(profile->wire);
    }
    for (size_t i = 0; i < report->segment_count; i++) {
        si__report_segment *segment = &report->segments[i];
        free(segment->name);
        free(segment->kind);
        si__sketch_free(segment->sketch);
        si__calltree_free(segment->tree);
        si__wire_tree_free(segment->wire);
    }
    for (size_t i = 0; i < report->error_count; i++) {
        free(report->errors[i].group);
        free(report->errors[i].message);
        si__calltree_free(report->errors[i].tree);
        si__wire_tree_free(report->errors[i].wire);
    }
    free(report->points);
    free(report->profiles);
    free(report->segments);
    free(report->errors);
}

void si__report_free(si__report *report) {
    if (!report) return;
    context_clear(&report->context);
    telemetry_clear(report);
    for (size_t i = 0; i < report->alert_count; i++) si__alert_clear(&report->alerts[i]);
    for (size_t i = 0; i < report->rule_count; i++) {
        free(report->rules[i].name);
        free(report->rules[i].file);
        free(report->rules[i].state);
        free(report->rules[i].error);
    }
    for (size_t i = 0; i < report->status_count; i++) {
        free(report->statuses[i].name);
        free(report->statuses[i].state);
        free(report->statuses[i].reason);
    }
    for (size_t i = 0; i < report->loss_count; i++) {
        free(report->losses[i].name);
        free(report->losses[i].reason);
    }
    free(report->alerts);
    free(report->rules);
    free(report->statuses);
    free(report->losses);
    si__wire_names_free(report->names);
    free(report->rules_hash);
    free(report);
}

/* One more zeroed element at the end of *items; capacities are the powers of two, so only the count is kept. */
static void *grow(void **items, size_t *count, size_t size) {
    if ((*count & (*count - 1)) == 0) { /* 0, 1, 2, 4, ...: full */
        size_t capacity = *count ? *count * 2 : 1;
        if (capacity > SIZE_MAX / size) return NULL;
        void *moved = realloc(*items, capacity * size);
        if (!moved) return NULL;
        *items = moved;
    }
    void *item = (char *)*items + *count * size;
    memset(item, 0, size);
    ++*count;
    return item;
}

/* The arrays have different element types; the copy through void * keeps strict aliasing. */
#define DEFINE_ADD(noun, type, field, counter)                                                                         \
    type *si__report_add_##noun(si__report *report) {                                                                  \
        void *items = report->field;                                                                                   \
        type *item = grow(&items, &report->counter, sizeof *report->field);                                            \
        report->field = items;                                                                                         \
        return item;                                                                                                   \
    }

DEFINE_ADD(point, si__point, points, point_count)
DEFINE_ADD(profile, si__report_profile, profiles, profile_count)
DEFINE_ADD(segment, si__report_segment, segments, segment_count)
DEFINE_ADD(error, si__report_error, errors, error_count)
DEFINE_ADD(alert, si__alert, alerts, alert_count)
DEFINE_ADD(rule, si__report_rule, rules, rule_count)
DEFINE_ADD(status, si__report_status, statuses, status_count)
DEFINE_ADD(loss, si__report_loss, losses, loss_count)
