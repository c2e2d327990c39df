/* What a page about profiles looks at; see selection.h. Workers' threads. */
#include "selection.h"

#include <errno.h>
#include <math.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kind.h"

/* ---- Parameters ---- */

int64_t si__tree_id(si__request *request, const char *name) {
    const char *text = si__request_argument(request, name, "");
    char *end;
    errno = 0;
    if (!*text) return 0;
    int64_t id = strtoll(text, &end, 10);
    if (!errno && !*end && id > 0) return id;
    si__answer_error(request, 400, "invalid", "A profile is named by the number that /profiles gives it.", name);
    return -1;
}

static int take_snapshot(void *arg, const si__snapshot_row *row) {
    si__selection *selection = arg;
    if (row->app != selection->range.app) return SI_ENOTFOUND;
    snprintf(selection->snapshot_type, sizeof selection->snapshot_type, "%s", row->type);
    selection->snapshot_has_base = row->has_base;
    selection->range.from_ms = row->from_ms;
    selection->range.to_ms = row->to_ms;
    selection->type = NULL; /* the snapshot's */
    return SI_OK;
}

const char *si__selection_type(const si__selection *selection) {
    return selection->type ? selection->type : selection->snapshot_type;
}

int si__selection_snapshot(si__reader *reader, si__selection *selection) {
    return si__read_snapshot(reader, selection->snapshot, take_snapshot, selection);
}

int si__selection_of(si__request *request, si__selection *selection) {
    *selection = (si__selection){0};
    selection->snapshot = si__request_argument(request, "snapshot", "");
    selection->type = si__request_argument(request, "type", "cpu");
    selection->version = si__request_argument(request, "version", "");
    int failed = si__request_range(request, &selection->range);
    if (failed) return failed;
    if (*selection->snapshot) {
        failed = si__selection_snapshot(request->reader, selection);
        if (failed == SI_ENOTFOUND)
            si__answer_error(request, 404, "not_found", "There is no such snapshot of this application.", "snapshot");
        else if (failed)
            si__answer_failure(request, failed);
        return failed;
    }
    selection->at = si__tree_id(request, "at");
    return selection->at < 0 ? SI_EINVAL : SI_OK;
}

static int read_source(si__request *request, const char *name, int64_t *source) {
    const char *text = si__request_argument(request, name, NULL);
    char *end;
    if (!text) return SI_OK;
    errno = 0;
    *source = strtoll(text, &end, 10);
    if (!errno && !*end && *source >= 0) return SI_OK;
    si__answer_error(request, 400, "invalid", "A source is the number that /sources gives it.", name);
    return SI_EINVAL;
}

int si__selection_base(si__request *request, const si__selection *selection, si__selection *base, int *has_base) {
    static const char *const names[] = {"base", "base_from", "base_to", "base_src", "base_version"};
    *has_base = 0;
    for (size_t i = 0; i < 5; i++) *has_base |= *si__request_argument(request, names[i], "") != '\0';
    *base = *selection;
    if (!*has_base && selection->snapshot_has_base) {
        *has_base = 1;
        base->part = SI__SNAPSHOT_BASE;
        return SI_OK;
    }
    base->snapshot = "";
    base->at = si__tree_id(request, "base");
    if (base->at < 0) return SI_EINVAL;
    base->version = si__request_argument(request, "base_version", selection->version);
    int failed = si__request_time(request, "base_from", selection->range.from_ms, &base->range.from_ms);
    failed = failed ? failed : si__request_time(request, "base_to", selection->range.to_ms, &base->range.to_ms);
    failed = failed ? failed : read_source(request, "base_src", &base->range.source);
    if (failed || !*has_base || base->at || base->range.from_ms < base->range.to_ms) return failed;
    si__answer_error(request, 400, "invalid", "The range to compare with ends before it begins.", "base_from");
    return SI_EINVAL;
}

/* ---- Reading ---- */

int si__selection_merge(si__reader *reader, const si__selection *selection, si__merge *merge) {
    if (*selection->snapshot) return si__read_snapshot_merge(reader, selection->snapshot, selection->part, merge);
    if (selection->at) return si__read_merge_one(reader, selection->range.app, selection->at, merge);
    if (*selection->version)
        return si__read_merge_version(reader, &selection->range, si__selection_type(selection), selection->version,
                                      merge);
    return si__read_merge(reader, &selection->range, si__selection_type(selection), merge);
}

static int read_tree(si__request *request, const si__selection *selection, const char *parameter, const char *message,
                     si__tree *tree) {
    int failed = si__selection_merge(request->reader, selection, &tree->merge);
    failed = failed ? failed : si__tree_of(request->reader, tree);
    if (!failed) return SI_OK;
    if (failed == SI_ENOTFOUND)
        si__answer_error(request, 404, "not_found", message, parameter);
    else
        si__answer_failure(request, failed);
    si__tree_clear(tree);
    return failed;
}

int si__selection_tree(si__request *request, const si__selection *selection, si__tree *tree) {
    return read_tree(request, selection, "at",
                     "This profile is not here (any more): telemetry is kept for a limited time.", tree);
}

int si__selection_base_tree(si__request *request, const si__selection *base, si__tree *tree) {
    return read_tree(request, base, "base", "The profile to compare with is not here (any more).", tree);
}

int si__tree_of(si__reader *reader, si__tree *tree) {
    free(tree->branches);
    tree->branches = NULL;
    return si__places_tree(reader->places, &reader->db, tree->merge.sum, &tree->branches, &tree->count);
}

void si__tree_clear(si__tree *tree) {
    si__merge_clear(&tree->merge);
    free(tree->branches);
    *tree = (si__tree){0};
}

int si__tree_read(si__request *request, const si__range *range, const char *type, int64_t at, si__tree *tree) {
    si__selection selection = {.range = *range, .at = at, .type = type, .version = "", .snapshot = ""};
    return si__selection_tree(request, &selection, tree);
}

/* ---- Comparing ---- */

static int alike(double a, double b, double tolerance) {
    return fabs(a - b) <= tolerance * (a > b ? a : b);
}

void si__comparison_of(const si__selection *selection, const si__merge *merge, const si__selection *base,
                       const si__merge *base_merge, si__comparison *out) {
    double mine = (double)merge->duration_ns, other = (double)base_merge->duration_ns;
    int ranges = !selection->at && !base->at && !*selection->snapshot && !*base->snapshot;
    int same_length =
        ranges && selection->range.to_ms - selection->range.from_ms == base->range.to_ms - base->range.from_ms;
    *out = (si__comparison){.factor = 1, .mode = "absolute", .by = "window"};
    if (!merge->profiles || !base_merge->profiles) {
        out->by = "none";
        snprintf(out->text, sizeof out->text, "%s holds no profile: there is nothing to compare with.",
                 base_merge->profiles ? "The selection" : "The base");
    } else if (si__kind_of(si__selection_type(selection))->nature == SI__LEVEL) {
        out->by = "level";
        snprintf(out->text, sizeof out->text,
                 "Absolute: both sides are what there was on average, whatever their length.");
    } else if (mine > 0 && other > 0 && alike(mine, other, same_length ? 0.05 : 0.01)) {
        if (!same_length) out->by = "duration";
        snprintf(out->text, sizeof out->text, "Absolute: both sides cover the same time (%.3g s and %.3g s).",
                 mine / 1e9, other / 1e9);
    } else if (mine > 0 && other > 0) {
        *out = (si__comparison){.factor = mine / other, .mode = "normalized", .by = "duration"};
        snprintf(out->text, sizeof out->text,
                 "Normalized: the base covers %.3g s, the selection %.3g s; the base is multiplied by %.4g.",
                 other / 1e9, mine / 1e9, out->factor);
    } else if (merge->profiles == base_merge->profiles) {
        snprintf(out->text, sizeof out->text, "Absolute: both sides are %llu profiles.",
                 (unsigned long long)merge->profiles);
    } else {
        *out = (si__comparison){
            .factor = (double)merge->profiles / (double)base_merge->profiles, .mode = "normalized", .by = "profiles"};
        snprintf(out->text, sizeof out->text,
                 "Normalized: the base is %llu profiles, the selection %llu; the base is multiplied by %.4g.",
                 (unsigned long long)base_merge->profiles, (unsigned long long)merge->profiles, out->factor);
    }
}

void si__comparison_write(si__json_writer *json, const si__comparison *comparison) {
    si__json_object_begin(json, "comparison");
    si__json_put_string(json, "mode", comparison->mode);
    si__json_put_number(json, "factor", comparison->factor);
    si__json_put_string(json, "by", comparison->by);
    si__json_put_string(json, "text", comparison->text);
    si__json_object_end(json);
}

void si__merge_write(si__json_writer *json, const si__merge *merge) {
    si__json_put_uint(json, "profiles", merge->profiles);
    si__json_put_uint(json, "samples", merge->samples);
    si__json_put_int(json, "total", merge->total);
    si__json_put_number(json, "duration_ms", (double)merge->duration_ns / 1e6);
    si__json_put_number(json, "cores", merge->duration_ns ? merge->core_ns / (double)merge->duration_ns : merge->cores);
    si__json_put_int(json, "start_ms", merge->start_ms);
    si__json_put_int(json, "end_ms", merge->end_ms);
}

const char *si__type_unit(si__reader *reader, int64_t app, const char *type) {
    sqlite3_stmt *read = si__db_prepare(&reader->db, "SELECT unit FROM profile_type WHERE app=? AND type=?");
    return si__db_step(&reader->db, si__db_bind(read, "is", app, type)) == 1 ? si__db_text(read, 0) : "";
}
