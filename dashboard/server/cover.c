/*
 * Covers a range of time with the coarsest rollups that fit and are up to date; see cover.h.
 *
 * A period that is marked as due is covered by what is finer; a period with neither mark nor rollup is empty.
 */
#include "cover.h"

#include <si/si.h>

#include "rollup.h"

typedef struct cover {
    si__reader *reader;
    int64_t app;
    const char *type;
    si__cover_each each;
    void *arg;
} cover;

static int64_t next_due(const cover *c, int64_t step, int64_t from_ms, int64_t to_ms) {
    sqlite3_stmt *due =
        si__db_prepare(&c->reader->db, "SELECT min(t) FROM rollup_due WHERE app=? AND type=? AND resolution_ms=?"
                                       " AND t>=? AND t<?");
    return si__db_int(&c->reader->db, si__db_bind(due, "isiii", c->app, c->type, step, from_ms, to_ms), to_ms);
}

/* A period that is due: summed up as far as it was, and the rest as reported. Segments are summed up anew. */
static int cover_due(const cover *c, int64_t t, int64_t step) {
    sqlite3_stmt *upto = si__db_prepare(
        &c->reader->db, "SELECT max(upto) FROM rollup WHERE app=? AND type=? AND resolution_ms=? AND t=?");
    int64_t after = !*c->type ? 0 : si__db_int(&c->reader->db, si__db_bind(upto, "isii", c->app, c->type, step, t), 0);
    int failed = after ? c->each(c->arg, 0, t, t + step, 0) : SI_OK;
    return failed ? failed : c->each(c->arg, -1, t, t + step, after);
}

static int cover_level(const cover *c, int level, int64_t from_ms,
                       int64_t to_ms) { /* recurses over SI__ROLLUP_LEVELS at most */
    if (from_ms >= to_ms) return SI_OK;
    if (level < 0) return c->each(c->arg, -1, from_ms, to_ms, 0);
    int64_t step = si__rollup_steps_ms[level];
    int64_t first = (from_ms + step - 1) / step * step, last = to_ms / step * step;
    if (first >= last) return cover_level(c, level - 1, from_ms, to_ms);
    int failed = cover_level(c, level - 1, from_ms, first);
    for (int64_t t = first, due; t < last && !failed; t = due + step) {
        due = next_due(c, step, t, last);
        if (due > t) failed = c->each(c->arg, level, t, due, 0);
        if (!failed && due < last)
            failed = level ? cover_level(c, level - 1, due, due + step) : cover_due(c, due, step);
    }
    return failed ? failed : cover_level(c, level - 1, last, to_ms);
}

int si__cover(si__reader *reader, int64_t app, const char *type, int64_t from_ms, int64_t to_ms, int top_level,
              si__cover_each each, void *arg) {
    cover c = {reader, app, type, each, arg};
    if (from_ms < 0) from_ms = 0;
    return cover_level(&c, top_level < SI__ROLLUP_LEVELS ? top_level : SI__ROLLUP_LEVELS - 1, from_ms, to_ms);
}
