/* How a report becomes rows: the parts of si__store_report_apply. Writer thread, inside a transaction. */
#ifndef SI_SERVER_RECORD_H
#define SI_SERVER_RECORD_H

#include "store.h"

#define SI__RECORD_LATEST_MS 253402300799000 /* the end of year 9999 */

typedef struct si__record {
    si__tx *tx;
    const si__report *report;
    int64_t app, source, context;
    int64_t shift_ms;          /* added to every time of the report: its clock is ahead of ours by that much */
    int64_t time_ms;           /* of the report's end, shifted */
    const si__callpath *paths; /* of the next profile's values; NULL: none were made */
    uint32_t *frames; /* of the report's frames, what the store calls them; see si__intern_wire. NULL: none came */
} si__record;

/* A time of the report as we keep it: sane, and on our clock. */
static inline int64_t si__record_time(const si__record *record, int64_t unix_ms) {
    int64_t sane = unix_ms < 0 ? 0 : unix_ms > SI__RECORD_LATEST_MS ? SI__RECORD_LATEST_MS : unix_ms;
    return sane + record->shift_ms < 0 ? 0 : sane + record->shift_ms;
}

int si__record_source(si__record *record); /* who speaks: source, context, version mark */
int si__record_profiles(si__record *record);
int si__record_segments(si__record *record);
int si__record_errors(si__record *record);
int si__record_points(si__record *record);
int si__record_alerts(si__record *record);

/* Applies one alert to the state machine of its incident; queues a message when it fires or resolves. */
int si__record_alert(si__tx *tx, int64_t app, int64_t source, const si__alert *alert, int64_t shift_ms,
                     int64_t time_ms);

/* Marks every rollup of the period as out of date. `type` "" stands for segments. */
int si__rollup_mark(si__tx *tx, int64_t app, const char *type, int64_t t);

/* At most `cap` - 1 bytes of text, cut at a character's start. Returns out. */
const char *si__clip(char *out, size_t cap, const char *text);

#endif
