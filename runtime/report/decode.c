/*
 * Decodes a report from hostile bytes. docs/report-format.md is what it accepts.
 *
 * Called by the dashboard on its threads, and by tests and fuzzers. The top-level map is scanned first, so that keys
 * may come in any order; unknown keys, and fields at the end of a row, are skipped: they are from a newer minor
 * version. Everything allocated is counted against a budget, because a few bytes can refer to a long string many times.
 */
#include <math.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"
#include "msgpack_reader.h"
#include "report.h"
#include "tree_decode.h"
#include "utf8.h"

typedef enum section {
    VERSION,
    ID,
    TIME,
    STRINGS,
    FRAMES,
    CONTEXT,
    POINTS,
    PROFILES,
    SEGMENTS,
    ERRORS,
    ALERTS,
    RULES,
    STATUSES,
    LOSSES,
    RULES_HASH,
    SECTIONS
} section;

static const char *const section_names[SECTIONS] = {"version", "id",     "time",     "strings",  "frames",
                                                    "context", "points", "profiles", "segments", "errors",
                                                    "alerts",  "rules",  "statuses", "losses",   "rules_hash"};

typedef struct decoder {
    si__msgpack_reader r;
    const uint8_t *begins[SECTIONS];
    const uint8_t *end;
    si__decode_tables tables;
    si__report *report;
    int wire; /* trees as they come, not as si__calltree */
} decoder;

static int enter(decoder *d, section which) {
    if (d->r.status || !d->begins[which]) return 0;
    d->r.at = d->begins[which];
    d->r.field = section_names[which];
    return 1;
}

static int view_is(si__msgpack_view view, const char *name) {
    return view.length == strlen(name) && !memcmp(view.data, name, view.length);
}

static void scan_sections(decoder *d) {
    si__msgpack_reader *r = &d->r;
    uint32_t pairs = si__msgpack_read_map(r);
    for (uint32_t i = 0; i < pairs && !r->status; i++) {
        if (!si__msgpack_is_str(r)) {
            si__msgpack_skip(r, 2);
            continue;
        }
        si__msgpack_view key = si__msgpack_read_str(r);
        for (int s = 0; s < SECTIONS; s++) {
            if (!view_is(key, section_names[s])) continue;
            r->field = section_names[s];
            if (d->begins[s]) si__msgpack_fail(r, SI_EFORMAT, "given twice");
            d->begins[s] = r->at;
        }
        si__msgpack_skip(r, 1);
        r->field = NULL;
    }
    if (!r->status && r->at != r->end) si__msgpack_fail(r, SI_EFORMAT, "something follows the map");
    static const section required[] = {VERSION, ID, TIME, STRINGS, CONTEXT};
    for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
        r->field = section_names[required[i]];
        if (!d->begins[required[i]]) si__msgpack_fail(r, SI_EFORMAT, "is missing");
    }
}

/* The start of a row: an array of at least `least` fields. Returns how many to skip at its end. */
static uint32_t row(si__msgpack_reader *r, uint32_t least) {
    uint32_t fields = si__msgpack_read_array(r);
    if (!r->status && fields < least) si__msgpack_fail(r, SI_EFORMAT, "row with too few fields");
    return r->status ? 0 : fields - least;
}

static void decode_head(decoder *d) {
    si__msgpack_reader *r = &d->r;
    if (enter(d, VERSION)) {
        uint32_t more = row(r, 2);
        uint64_t major = si__msgpack_read_uint(r);
        si__msgpack_read_uint(r);
        si__msgpack_skip(r, more);
        if (!r->status && major != SI__REPORT_VERSION) {
            char what[96];
            snprintf(what, sizeof what, "format %llu.x is not known here (this reads %d.x): update the dashboard",
                     (unsigned long long)major, SI__REPORT_VERSION);
            si__msgpack_fail(r, SI_EFORMAT, what);
        }
    }
    if (enter(d, ID)) {
        row(r, 3);
        si__msgpack_view agent = si__msgpack_read_bin(r), boot = si__msgpack_read_bin(r);
        d->report->id.sequence = si__msgpack_read_uint(r);
        if (!r->status && (agent.length != 16 || boot.length != 16))
            si__msgpack_fail(r, SI_EFORMAT, "expected two times 16 bytes");
        if (!r->status) {
            memcpy(d->report->id.agent, agent.data, 16);
            memcpy(d->report->id.boot, boot.data, 16);
        }
    }
    if (enter(d, TIME)) {
        row(r, 2);
        d->report->start_ms = si__msgpack_read_int(r);
        d->report->end_ms = si__msgpack_read_int(r);
    }
}

static char *text(decoder *d) {
    return si__decode_text(&d->r, &d->tables);
}

static double real_or_zero(si__msgpack_reader *r) {
    double value = si__msgpack_read_double(r);
    return isfinite(value) ? value : 0;
}

static void decode_tags(decoder *d) {
    si__context *c = &d->report->context;
    uint32_t count = si__msgpack_read_array(&d->r);
    if (d->r.status || c->tags) {
        si__msgpack_fail(&d->r, SI_EFORMAT, "tags given twice");
        return;
    }
    if (!si__decode_spend(&d->r, &d->tables, count, sizeof *c->tags)) return;
    if (count && !(c->tags = calloc(count, sizeof *c->tags))) {
        si__msgpack_fail(&d->r, SI_ENOMEM, "out of memory");
        return;
    }
    while (c->tag_count < count && !d->r.status) c->tags[c->tag_count++] = text(d);
}

static void decode_context(decoder *d) {
    si__context *c = &d->report->context;
    struct {
        const char *key;
        char **to;
    } texts[] = {{"app", &c->app},
                 {"env", &c->environment},
                 {"app_version", &c->app_version},
                 {"host", &c->host},
                 {"runtime", &c->runtime_type},
                 {"runtime_version", &c->runtime_version},
                 {"build_id", &c->build_id},
                 {"run_id", &c->run_id},
                 {"agent_version", &c->agent_version},
                 {"os", &c->os}};
    size_t known = sizeof texts / sizeof *texts;
    if (!enter(d, CONTEXT)) return;
    uint32_t pairs = si__msgpack_read_map(&d->r);
    for (uint32_t i = 0; i < pairs && !d->r.status; i++) {
        if (!si__msgpack_is_str(&d->r)) {
            si__msgpack_skip(&d->r, 2);
            continue;
        }
        si__msgpack_view key = si__msgpack_read_str(&d->r);
        size_t k = 0;
        while (k < known && !view_is(key, texts[k].key)) k++;
        if (k < known && *texts[k].to) {
            si__msgpack_fail(&d->r, SI_EFORMAT, "key given twice");
        } else if (k < known) {
            *texts[k].to = text(d);
        } else if (view_is(key, "pid")) {
            c->pid = si__msgpack_read_int(&d->r);
        } else if (view_is(key, "tags")) {
            decode_tags(d);
        } else {
            si__msgpack_skip(&d->r, 1);
        }
    }
    for (size_t k = 0; k < known && !d->r.status; k++)
        if (!*texts[k].to && !(*texts[k].to = si__report_strdup("")))
            si__msgpack_fail(&d->r, SI_ENOMEM, "out of memory");
}

/* Enters a section of rows; returns their number after counting what the model will take for them. */
static uint32_t rows(decoder *d, section which, size_t element_bytes) {
    if (!enter(d, which)) return 0;
    uint32_t count = si__msgpack_read_array(&d->r);
    return si__decode_spend(&d->r, &d->tables, count, element_bytes * 2) ? count : 0;
}

static int got(decoder *d, const void *item) {
    if (!item) si__msgpack_fail(&d->r, SI_ENOMEM, "out of memory");
    return item != NULL;
}

static void decode_points(decoder *d) {
    enum { NAME, UNIT, TIME_DELTA, VALUE, COLUMNS };
    si__msgpack_reader columns[COLUMNS];
    if (!enter(d, POINTS)) return;
    row(&d->r, COLUMNS);
    uint32_t count = si__decode_columns(&d->r, columns, COLUMNS);
    if (!si__decode_spend(&d->r, &d->tables, count, sizeof(si__point) * 2)) return;
    uint64_t time_ms = (uint64_t)d->report->start_ms;
    for (uint32_t i = 0; i < count && !d->r.status; i++) {
        time_ms += (uint64_t)si__msgpack_read_int(&columns[TIME_DELTA]);
        double value = si__msgpack_read_double(&columns[VALUE]);
        if (!isfinite(value)) { /* nothing to store; the columns go on */
            si__msgpack_skip(&columns[NAME], 1);
            si__msgpack_skip(&columns[UNIT], 1);
        } else {
            si__point *point = si__report_add_point(d->report);
            if (!got(d, point)) return;
            point->name = si__decode_text(&columns[NAME], &d->tables);
            point->unit = si__decode_text(&columns[UNIT], &d->tables);
            point->time_ms = (int64_t)time_ms;
            point->value = value;
        }
        for (int c = 0; c < COLUMNS; c++)
            if (columns[c].status) d->r.status = columns[c].status; /* its message is written already */
    }
}

/* A tree in the form that was asked for. 1: there is one; 0: nil was written, or the reader has failed. */
static int tree(decoder *d, si__calltree **calltree, si__wire_tree **wire) {
    if (d->wire)
        *wire = si__decode_wire_tree(&d->r, &d->tables);
    else
        *calltree = si__decode_tree(&d->r, &d->tables);
    return *wire || *calltree;
}

static void decode_profiles(decoder *d) {
    si__msgpack_reader *r = &d->r;
    uint32_t count = rows(d, PROFILES, sizeof(si__report_profile));
    for (uint32_t i = 0; i < count && !r->status; i++) {
        uint32_t more = row(r, 10);
        si__report_profile *p = si__report_add_profile(d->report);
        if (!got(d, p)) return;
        p->type = text(d);
        p->unit = text(d);
        p->trigger = text(d);
        p->workload = text(d);
        p->start_ms = si__msgpack_read_int(r);
        p->duration_ns = si__msgpack_read_uint(r);
        p->cores = real_or_zero(r);
        p->samples = si__msgpack_read_uint(r);
        p->dropped = si__msgpack_read_uint(r);
        if (!tree(d, &p->tree, &p->wire) && !r->status) { /* readers need not ask */
            if (d->wire)
                got(d, p->wire = si__decode_wire_empty());
            else
                got(d, p->tree = si__calltree_new());
        }
        si__msgpack_skip(r, more);
    }
}

static void decode_segments(decoder *d) {
    si__msgpack_reader *r = &d->r;
    uint32_t count = rows(d, SEGMENTS, sizeof(si__report_segment));
    for (uint32_t i = 0; i < count && !r->status; i++) {
        uint32_t more = row(r, 9);
        si__report_segment *s = si__report_add_segment(d->report);
        if (!got(d, s)) return;
        s->name = text(d);
        s->kind = text(d);
        s->start_ms = si__msgpack_read_int(r);
        s->duration_ns = si__msgpack_read_uint(r);
        s->count = si__msgpack_read_uint(r);
        s->errors = si__msgpack_read_uint(r);
        s->sum_ns = si__msgpack_read_uint(r);
        s->max_ns = si__msgpack_read_uint(r);
        si__msgpack_view sketch = si__msgpack_read_bin(r);
        if (more) tree(d, &s->tree, &s->wire); /* since 1.1 */
        si__msgpack_skip(r, more ? more - 1 : 0);
        if (!si__decode_spend(r, &d->tables, sketch.length + 8, 32)) return;
        s->sketch = sketch.length ? si__sketch_decode((const uint8_t *)sketch.data, sketch.length) : si__sketch_new();
        if (!s->sketch) si__msgpack_fail(r, SI_EFORMAT, "malformed sketch");
    }
}

static void decode_errors(decoder *d) {
    si__msgpack_reader *r = &d->r;
    uint32_t count = rows(d, ERRORS, sizeof(si__report_error));
    for (uint32_t i = 0; i < count && !r->status; i++) {
        uint32_t more = row(r, 6);
        si__report_error *e = si__report_add_error(d->report);
        if (!got(d, e)) return;
        e->group = text(d);
        e->message = text(d);
        e->start_ms = si__msgpack_read_int(r);
        e->duration_ns = si__msgpack_read_uint(r);
        e->count = si__msgpack_read_uint(r);
        tree(d, &e->tree, &e->wire);
        si__msgpack_skip(r, more);
    }
}

/* The fingerprint is a key in stores and messages, hence nothing but hex digits. */
static void decode_fingerprint(decoder *d, char fingerprint[33]) {
    char *hex = text(d);
    if (!hex) return;
    size_t length = strlen(hex);
    if (length == 0 || length > 32 || strspn(hex, "0123456789abcdef") != length)
        si__msgpack_fail(&d->r, SI_EFORMAT, "a fingerprint is 1 to 32 hex digits");
    else
        memcpy(fingerprint, hex, length + 1);
    free(hex);
}

static void decode_alerts(decoder *d) {
    si__msgpack_reader *r = &d->r;
    uint32_t count = rows(d, ALERTS, sizeof(si__alert));
    for (uint32_t i = 0; i < count && !r->status; i++) {
        uint32_t more = row(r, 15);
        si__alert *a = si__report_add_alert(d->report);
        if (!got(d, a)) return;
        decode_fingerprint(d, a->fingerprint);
        char **texts[] = {&a->rule,   &a->subject, &a->severity,    &a->summary, &a->runbook,
                          &a->detail, &a->app,     &a->environment, &a->host};
        for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) *texts[t] = text(d);
        uint64_t state = si__msgpack_read_uint(r);
        if (!r->status && state > SI__ALERT_RESOLVED) si__msgpack_fail(r, SI_EFORMAT, "unknown alert state");
        a->state = (si__alert_state)(state & 3);
        a->value = si__msgpack_read_double(r);
        if (!isfinite(a->value)) a->value = NAN;
        a->started_ms = si__msgpack_read_int(r);
        a->fired_ms = si__msgpack_read_int(r);
        a->resolved_ms = si__msgpack_read_int(r);
        si__msgpack_skip(r, more);
    }
}

static void decode_rules(decoder *d) {
    si__msgpack_reader *r = &d->r;
    uint32_t count = rows(d, RULES, sizeof(si__report_rule));
    for (uint32_t i = 0; i < count && !r->status; i++) {
        uint32_t more = row(r, 6);
        si__report_rule *rule = si__report_add_rule(d->report);
        if (!got(d, rule)) return;
        rule->name = text(d);
        rule->file = text(d);
        rule->state = text(d);
        rule->error = text(d);
        rule->evaluations = si__msgpack_read_uint(r);
        rule->cost_ns = si__msgpack_read_uint(r);
        si__msgpack_skip(r, more);
    }
    if (enter(d, RULES_HASH)) d->report->rules_hash = text(d);
    if (!r->status && !d->report->rules_hash) got(d, d->report->rules_hash = si__report_strdup(""));
}

static void decode_self(decoder *d) {
    si__msgpack_reader *r = &d->r;
    uint32_t count = rows(d, STATUSES, sizeof(si__report_status));
    for (uint32_t i = 0; i < count && !r->status; i++) {
        uint32_t more = row(r, 3);
        si__report_status *status = si__report_add_status(d->report);
        if (!got(d, status)) return;
        status->name = text(d);
        status->state = text(d);
        status->reason = text(d);
        si__msgpack_skip(r, more);
    }
    count = rows(d, LOSSES, sizeof(si__report_loss));
    for (uint32_t i = 0; i < count && !r->status; i++) {
        uint32_t more = row(r, 6);
        si__report_loss *loss = si__report_add_loss(d->report);
        if (!got(d, loss)) return;
        loss->name = text(d);
        loss->made = si__msgpack_read_uint(r);
        loss->stored = si__msgpack_read_uint(r);
        loss->pending = si__msgpack_read_uint(r);
        loss->dropped = si__msgpack_read_uint(r);
        loss->reason = text(d);
        si__msgpack_skip(r, more);
    }
}

static int decode(const uint8_t *data, size_t length, int wire, si__report **out, char *error, size_t error_bytes) {
    decoder d = {.r = {.at = data, .end = data + length, .error = error, .error_bytes = error_bytes}, .wire = wire};
    *out = NULL;
    if (error_bytes) error[0] = '\0';
    if (length > SI__REPORT_MAX_BODY) return si__msgpack_fail(&d.r, SI_ELIMIT, "longer than 8 MiB");
    if (!(d.report = si__report_new())) return si__msgpack_fail(&d.r, SI_ENOMEM, "out of memory");
    d.tables.budget_bytes = SI__REPORT_MAX_MEMORY;
    scan_sections(&d);
    decode_head(&d);
    if (enter(&d, STRINGS)) si__decode_strings(&d.r, &d.tables);
    if (enter(&d, FRAMES)) si__decode_frames(&d.r, &d.tables);
    decode_context(&d);
    decode_points(&d);
    decode_profiles(&d);
    decode_segments(&d);
    decode_errors(&d);
    decode_alerts(&d);
    decode_rules(&d);
    decode_self(&d);
    if (wire && !d.r.status) d.report->names = si__decode_wire_names(&d.r, &d.tables);
    si__decode_tables_free(&d.tables);
    if (d.r.status) {
        si__report_free(d.report);
        return d.r.status;
    }
    *out = d.report;
    return SI_OK;
}

int si__report_decode(const uint8_t *data, size_t length, si__report **out, char *error, size_t error_bytes) {
    return decode(data, length, 0, out, error, error_bytes);
}

int si__report_decode_wire(uint8_t *data, size_t length, si__report **out, char *error, size_t error_bytes) {
    int failed = decode(data, length, 1, out, error, error_bytes);
    if (failed)
        free(data);
    else
        (*out)->names->input = data; /* what the names point into */
    return failed;
}
