/*
 * Sweeping; see sweep.h. First every body is read and its calls marked, with their callers; then unmarked calls go,
 * then frames that no call has, then names. The newest row of each table stays, so that no number is given twice:
 * caches that readers share never see a number with another meaning.
 */
#include "sweep.h"

#include <si/si.h>
#include <stdlib.h>

#define BODIES_A_STEP 256
#define ROWS_A_STEP 2000

static const char *const bodies[] = {
    /* all that names calls */
    "SELECT id,body FROM profile_body WHERE id>? ORDER BY id LIMIT ?",
    "SELECT rowid,body FROM rollup WHERE rowid>? ORDER BY rowid LIMIT ?",
    "SELECT id,body FROM error WHERE id>? ORDER BY id LIMIT ?",
    "SELECT id,body FROM segment WHERE id>? ORDER BY id LIMIT ?",
    "SELECT rowid,body FROM snapshot_part WHERE rowid>? ORDER BY rowid LIMIT ?",
};

static const struct name_table { /* names, and what refers to them */
    const char *newest, *users, *unused, *drop;
} names[] = {
    {"SELECT max(id) FROM context", "SELECT id,context FROM profile WHERE id>? ORDER BY id LIMIT ?",
     "SELECT id FROM context WHERE id>? AND id<?", "DELETE FROM context WHERE id=?"},
    {"SELECT max(id) FROM segment_name", "SELECT id,name FROM segment WHERE id>? ORDER BY id LIMIT ?",
     "SELECT id FROM segment_name WHERE id>? AND id<?", "DELETE FROM segment_name WHERE id=?"},
    {"SELECT max(id) FROM error_group", "SELECT id,name FROM error WHERE id>? ORDER BY id LIMIT ?",
     "SELECT id FROM error_group WHERE id>? AND id<?", "DELETE FROM error_group WHERE id=?"},
};

enum { BODIES = sizeof bodies / sizeof bodies[0], NAMES = sizeof names / sizeof names[0] };

typedef enum phase { MARK_NODES, DROP_NODES, MARK_FRAMES, DROP_FRAMES, SWEEP_NAMES, DONE } phase;

typedef struct bits {
    uint8_t *set;
    int64_t limit; /* numbers from here on are not looked at */
} bits;

struct si__sweep {
    si__places *places;
    phase phase;
    int table;     /* within a phase */
    int64_t after; /* the last row that was looked at */
    bits nodes, frames, names;
};

static int64_t ask(si__db *db, const char *literal) {
    return si__db_int(db, si__db_prepare(db, literal), 0);
}

static int bits_make(bits *b, int64_t limit) {
    free(b->set);
    b->limit = limit < 0 ? 0 : limit;
    b->set = calloc((size_t)b->limit / 8 + 1, 1);
    return b->set ? SI_OK : SI_ENOMEM;
}

static void mark(bits *b, int64_t number) {
    if (number > 0 && number < b->limit) b->set[number / 8] |= (uint8_t)(1u << (number % 8));
}

static int is_marked(const bits *b, int64_t number) {
    return number <= 0 || number >= b->limit || (b->set[number / 8] >> (number % 8) & 1);
}

/* A node with its callers: those above a marked one are marked already. */
static void mark_up(si__tx *tx, si__sweep *sweep, uint32_t node) {
    while (node && (node >= sweep->nodes.limit || !is_marked(&sweep->nodes, node))) {
        mark(&sweep->nodes, node);
        uint32_t parent = si__places_get(sweep->places, tx->db, node).parent;
        node = parent < node ? parent : 0;
    }
}

si__sweep *si__sweep_new(si__tx *tx, si__places *places) {
    si__sweep *sweep = calloc(1, sizeof *sweep);
    if (!sweep) return NULL;
    sweep->places = places;
    if (bits_make(&sweep->nodes, ask(tx->db, "SELECT max(id) FROM node")) ||
        bits_make(&sweep->frames, ask(tx->db, "SELECT max(id) FROM frame"))) {
        si__sweep_free(sweep, tx->intern);
        return NULL;
    }
    mark_up(tx, sweep, (uint32_t)sweep->nodes.limit); /* the newest stays, and does not without its callers */
    si__intern_watch(tx->intern, sweep->nodes.set, sweep->nodes.limit, sweep->frames.set, sweep->frames.limit);
    return sweep;
}

void si__sweep_free(si__sweep *sweep, si__intern *intern) {
    if (!sweep) return;
    if (intern) si__intern_watch(intern, NULL, 0, NULL, 0);
    free(sweep->nodes.set);
    free(sweep->frames.set);
    free(sweep->names.set);
    free(sweep);
}

static int next_phase(si__sweep *sweep) {
    sweep->phase++;
    sweep->table = 0;
    sweep->after = 0;
    return 1;
}

static int mark_bodies(si__tx *tx, si__sweep *sweep) {
    sqlite3_stmt *read = si__db_prepare(tx->db, bodies[sweep->table]);
    int row, count = 0, failed = SI_OK;
    si__db_bind(read, "ii", sweep->after, (int64_t)BODIES_A_STEP);
    while (!failed && (row = si__db_step(tx->db, read)) == 1) {
        const si__entry *entries;
        size_t n = 0;
        count++;
        sweep->after = sqlite3_column_int64(read, 0);
        if (sqlite3_column_bytes(read, 1) == 0) continue;
        failed = si__body_decode(tx->codec, sqlite3_column_blob(read, 1), (size_t)sqlite3_column_bytes(read, 1),
                                 &entries, &n);
        if (failed == SI_EFORMAT) failed = SI_OK; /* damaged: it names nothing that anybody can see */
        for (size_t i = 0; i < n && !failed; i++) mark_up(tx, sweep, entries[i].node);
    }
    if (failed) sqlite3_reset(read);
    if (failed || row < 0) return failed ? failed : row;
    if (count == BODIES_A_STEP) return 1;
    sweep->after = 0;
    return ++sweep->table < BODIES ? 1 : next_phase(sweep);
}

/* Deletes what is not marked of the rows that `unused` names within a stretch of numbers. */
static int drop_stretch(si__tx *tx, si__sweep *sweep, const bits *b, const char *unused, const char *drop) {
    int64_t end = sweep->after + ROWS_A_STEP + 1;
    int64_t ids[ROWS_A_STEP];
    int row, count = 0, dropped = 0;
    if (end > b->limit) end = b->limit;
    sqlite3_stmt *read = si__db_prepare(tx->db, unused);
    si__db_bind(read, "ii", sweep->after, end);
    while ((row = si__db_step(tx->db, read)) == 1) {
        int64_t id = sqlite3_column_int64(read, 0);
        if (count < ROWS_A_STEP && !is_marked(b, id)) ids[count++] = id;
    }
    for (; dropped < count && row >= 0; dropped++)
        row = si__db_run(tx->db, si__db_bind(si__db_prepare(tx->db, drop), "i", ids[dropped]));
    if (dropped) si__intern_forget_numbers(tx->intern);
    sweep->after = end - 1;
    return row < 0 ? row : end < b->limit;
}

/* Of the calls that are left. */
static int mark_frames(si__tx *tx, si__sweep *sweep) {
    sqlite3_stmt *read = si__db_prepare(tx->db, "SELECT id,frame FROM node WHERE id>? ORDER BY id LIMIT ?");
    int row, count = 0;
    si__db_bind(read, "ii", sweep->after, (int64_t)ROWS_A_STEP);
    while ((row = si__db_step(tx->db, read)) == 1) {
        count++;
        sweep->after = sqlite3_column_int64(read, 0);
        mark(&sweep->frames, sqlite3_column_int64(read, 1));
    }
    return row < 0 ? row : count == ROWS_A_STEP ? 1 : next_phase(sweep);
}

/* Once all that refers has been looked at, the unused go in the same transaction: nobody can begin to use one between.
 */
static int sweep_names(si__tx *tx, si__sweep *sweep) {
    const struct name_table *table = &names[sweep->table];
    int row, count = 0, more = 1;
    if (sweep->after == 0 && bits_make(&sweep->names, ask(tx->db, table->newest))) return SI_ENOMEM;
    sqlite3_stmt *read = si__db_prepare(tx->db, table->users);
    si__db_bind(read, "ii", sweep->after, (int64_t)ROWS_A_STEP);
    while ((row = si__db_step(tx->db, read)) == 1) {
        count++;
        sweep->after = sqlite3_column_int64(read, 0);
        mark(&sweep->names, sqlite3_column_int64(read, 1));
    }
    if (row < 0) return row;
    if (count == ROWS_A_STEP) return 1;
    for (sweep->after = 0; more > 0;) more = drop_stretch(tx, sweep, &sweep->names, table->unused, table->drop);
    sweep->after = 0;
    if (more < 0) return more;
    return ++sweep->table < NAMES ? 1 : next_phase(sweep);
}

int si__sweep_step(si__tx *tx, si__sweep *sweep) {
    int more = 1;
    switch (sweep->phase) {
    case MARK_NODES:
        return mark_bodies(tx, sweep);
    case DROP_NODES:
        more = drop_stretch(tx, sweep, &sweep->nodes, "SELECT id FROM node WHERE id>? AND id<?",
                            "DELETE FROM node WHERE id=?");
        break;
    case MARK_FRAMES:
        return mark_frames(tx, sweep);
    case DROP_FRAMES:
        more = drop_stretch(tx, sweep, &sweep->frames, "SELECT id FROM frame WHERE id>? AND id<?",
                            "DELETE FROM frame WHERE id=?");
        break;
    case SWEEP_NAMES:
        return sweep_names(tx, sweep);
    default:
        si__intern_forget(tx->intern); /* its counts too */
        return 0;
    }
    return more ? more : next_phase(sweep);
}
