/*
 * An alert from a report, or from a rule of the dashboard's own, enters the state machine of its incident. Writer
 * thread, inside a transaction; see record.h.
 *
 * An incident is (application, fingerprint, time it began). It only moves forward: pending, firing, resolved; reports
 * repeat and overtake each other, so what is older or the same changes nothing. Firing and resolving leave a row in the
 * outbox each.
 */
#include <si/si.h>
#include <string.h>

#include "record.h"

static int rank(const char *state) {
    int parsed = si__alert_state_parse(state);
    return parsed < 0 ? 0 : parsed; /* inactive, pending, firing, resolved are numbered in order */
}

static int queue_message(si__tx *tx, int64_t alert, const char *about) {
    sqlite3_stmt *insert =
        si__db_prepare(tx->db, "INSERT INTO outbox(alert,about,state,created_ms) VALUES(?,?,'new',?)");
    int failed = si__db_run(tx->db, si__db_bind(insert, "isi", alert, about, tx->now_ms));
    tx->changed |= SI__CHANGED_ALERTS;
    return failed;
}

/* Incidents of the same fingerprint that never said that they ended have ended when the newest began. */
static int close_earlier(si__tx *tx, int64_t app, const char *fingerprint, int64_t *newest_ms) {
    sqlite3_stmt *find = si__db_prepare(tx->db, "SELECT max(started_ms) FROM alert WHERE app=? AND fingerprint=?");
    *newest_ms = si__db_int(tx->db, si__db_bind(find, "is", app, fingerprint), 0);
    sqlite3_stmt *update =
        si__db_prepare(tx->db, "UPDATE alert SET state='resolved',resolved_ms=?3 WHERE app=?1 AND fingerprint=?2"
                               " AND started_ms<?3 AND state IN ('pending','firing')");
    return si__db_run(tx->db, si__db_bind(update, "isi", app, fingerprint, *newest_ms));
}

static int insert_alert(si__tx *tx, int64_t app, int64_t source, const si__alert *alert, const int64_t times[4],
                        int64_t *id) {
    char rule[128], subject[512], severity[32], summary[512], runbook[1024], detail[8192], host[256];
    sqlite3_stmt *insert =
        si__db_prepare(tx->db, "INSERT INTO alert(app,source,fingerprint,rule,subject,severity,summary,runbook,detail,"
                               "host,state,value,started_ms,fired_ms,resolved_ms,updated_ms)"
                               " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
    si__db_bind(insert, "iisssssssssdiiii", app, source, alert->fingerprint, si__clip(rule, sizeof rule, alert->rule),
                si__clip(subject, sizeof subject, alert->subject), si__clip(severity, sizeof severity, alert->severity),
                si__clip(summary, sizeof summary, alert->summary), si__clip(runbook, sizeof runbook, alert->runbook),
                si__clip(detail, sizeof detail, alert->detail), si__clip(host, sizeof host, alert->host),
                si__alert_state_name(alert->state), alert->value, times[0], times[1], times[2], times[3]);
    int failed = si__db_run(tx->db, insert);
    *id = sqlite3_last_insert_rowid(tx->db->sql);
    return failed;
}

static int update_alert(si__tx *tx, int64_t id, const si__alert *alert, const int64_t times[4]) {
    char summary[512], detail[8192];
    sqlite3_stmt *update =
        si__db_prepare(tx->db, "UPDATE alert SET state=?,summary=?,detail=?,value=?,fired_ms=max(fired_ms,?),"
                               "resolved_ms=?,updated_ms=? WHERE id=?");
    si__db_bind(update, "sssdiiii", si__alert_state_name(alert->state),
                si__clip(summary, sizeof summary, alert->summary), si__clip(detail, sizeof detail, alert->detail),
                alert->value, times[1], times[2], times[3], id);
    return si__db_run(tx->db, update);
}

int si__record_alert(si__tx *tx, int64_t app, int64_t source, const si__alert *alert, int64_t shift_ms,
                     int64_t time_ms) {
    si__record clock = {.shift_ms = shift_ms};
    int64_t times[4] = {si__record_time(&clock, alert->started_ms),
                        alert->fired_ms ? si__record_time(&clock, alert->fired_ms) : 0,
                        alert->resolved_ms ? si__record_time(&clock, alert->resolved_ms) : 0, time_ms};
    sqlite3_stmt *find =
        si__db_prepare(tx->db, "SELECT id,state,updated_ms FROM alert WHERE app=? AND fingerprint=? AND started_ms=?");
    int found = si__db_step(tx->db, si__db_bind(find, "isi", app, alert->fingerprint, times[0]));
    if (found < 0) return found;
    int64_t id = found ? sqlite3_column_int64(find, 0) : 0, updated_ms = found ? sqlite3_column_int64(find, 2) : 0;
    int before = found ? rank(si__db_text(find, 1)) : 0, now = (int)alert->state;
    if (found) sqlite3_reset(find);
    if (found && (now < before || (now == before && time_ms <= updated_ms))) {
        int withdrawn = now == SI__ALERT_INACTIVE && before == SI__ALERT_PENDING && time_ms >= updated_ms;
        if (!withdrawn) return SI_OK;
        sqlite3_stmt *withdraw =
            si__db_prepare(tx->db, "DELETE FROM alert WHERE id=?"); /* it never fired: nobody was told */
        return si__db_run(tx->db, si__db_bind(withdraw, "i", id));
    }
    if (!found && now == SI__ALERT_INACTIVE) return SI_OK;
    int64_t newest_ms = times[0];
    int failed = found ? update_alert(tx, id, alert, times) : insert_alert(tx, app, source, alert, times, &id);
    if (!found && !failed) failed = close_earlier(tx, app, alert->fingerprint, &newest_ms);
    if (failed || now == before || now < SI__ALERT_FIRING || newest_ms > times[0]) return failed;
    if (now == SI__ALERT_RESOLVED && before == SI__ALERT_PENDING) return SI_OK;
    return queue_message(tx, id, now == SI__ALERT_FIRING ? "firing" : "resolved");
}

int si__record_alerts(si__record *record) {
    int failed = SI_OK;
    for (size_t i = 0; i < record->report->alert_count && !failed; i++)
        failed = si__record_alert(record->tx, record->app, record->source, &record->report->alerts[i], record->shift_ms,
                                  record->time_ms);
    return failed;
}
