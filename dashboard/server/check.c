/*
 * Looks through a whole store; see check.h: SQLite's own check, that every body can be read and adds up to its row,
 * that every call that is named is there with its callers, that the ledger and what it stands for agree.
 */
#include "check.h"

#include <inttypes.h>
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "body.h"
#include "db.h"
#include "schema.h"

#define SAID_OF_A_KIND 5

typedef struct checking {
    si__db db;
    si__body_codec *codec;
    FILE *out;
    uint8_t *nodes; /* a bit for each node that is there */
    int64_t newest_node;
    int findings;
} checking;

static int has_node(const checking *c, int64_t node) {
    return node == 0 || (node > 0 && node <= c->newest_node && (c->nodes[node / 8] >> (node % 8) & 1));
}

static void found(checking *c, int *of_a_kind, const char *what, int64_t id) {
    c->findings++;
    if (++*of_a_kind <= SAID_OF_A_KIND) fprintf(c->out, "FOUND %s: %" PRId64 "\n", what, id);
    if (*of_a_kind == SAID_OF_A_KIND + 1) fprintf(c->out, "FOUND %s: and more\n", what);
}

static void check_file(checking *c) {
    int said = 0;
    sqlite3_stmt *check = si__db_prepare(&c->db, "PRAGMA integrity_check(20)");
    while (si__db_step(&c->db, check) == 1) {
        if (!strcmp(si__db_text(check, 0), "ok")) continue;
        fprintf(c->out, "FOUND in the file: %s\n", si__db_text(check, 0));
        c->findings++;
        said++;
    }
    if (!said) fprintf(c->out, "file: sound\n");
}

static int check_nodes(checking *c) {
    int orphans = 0, nameless = 0;
    c->newest_node = si__db_int(&c->db, si__db_prepare(&c->db, "SELECT max(id) FROM node"), 0);
    c->nodes = calloc((size_t)c->newest_node / 8 + 1, 1);
    if (!c->nodes) return SI_ENOMEM;
    int64_t count = 0;
    sqlite3_stmt *read = si__db_prepare(
        &c->db, "SELECT id,parent,(SELECT 1 FROM frame WHERE frame.id=node.frame) FROM node ORDER BY id");
    while (si__db_step(&c->db, read) == 1) {
        int64_t id = sqlite3_column_int64(read, 0), parent = sqlite3_column_int64(read, 1);
        if (id <= 0 || id > c->newest_node) continue;
        if (parent >= id || !has_node(c, parent)) found(c, &orphans, "a call without its caller, node", id);
        if (sqlite3_column_type(read, 2) == SQLITE_NULL) found(c, &nameless, "a call without its frame, node", id);
        c->nodes[id / 8] |= (uint8_t)(1u << (id % 8));
        count++;
    }
    fprintf(c->out, "calls: %" PRId64 "\n", count);
    return SI_OK;
}

/* 1: the body can be read and all its calls are there. */
static int check_body(checking *c, sqlite3_stmt *row, int column, int64_t *total) {
    const si__entry *entries;
    size_t count;
    *total = 0;
    if (si__body_decode(c->codec, sqlite3_column_blob(row, column), (size_t)sqlite3_column_bytes(row, column), &entries,
                        &count))
        return 0;
    int whole = 1;
    for (size_t i = 0; i < count; i++) {
        whole &= has_node(c, entries[i].node);
        *total = si__wrap_add(*total, entries[i].value);
    }
    return whole;
}

/* Columns: id, body, total (NULL: not known). */
static void check_bodies(checking *c, sqlite3_stmt *read, const char *name) {
    int bad = 0, wrong = 0;
    int64_t count = 0, total;
    char unreadable[80], unequal[80];
    snprintf(unreadable, sizeof unreadable, "a body that cannot be read or names calls that are gone, %s", name);
    snprintf(unequal, sizeof unequal, "a body that does not add up to its total, %s", name);
    while (si__db_step(&c->db, read) == 1) {
        count++;
        if (!check_body(c, read, 1, &total))
            found(c, &bad, unreadable, sqlite3_column_int64(read, 0));
        else if (sqlite3_column_type(read, 2) != SQLITE_NULL && total != sqlite3_column_int64(read, 2))
            found(c, &wrong, unequal, sqlite3_column_int64(read, 0));
    }
    fprintf(c->out, "%ss: %" PRId64 "\n", name, count);
}

static void check_count(checking *c, sqlite3_stmt *question, const char *what) {
    int64_t count = si__db_int(&c->db, question, 0);
    if (!count) return;
    c->findings++;
    fprintf(c->out, "FOUND %s: %" PRId64 "\n", what, count);
}

static void check_rows(checking *c) {
    si__db *db = &c->db;
    check_bodies(c,
                 si__db_prepare(db, "SELECT profile.id,coalesce(body,x''),total FROM profile"
                                    " LEFT JOIN profile_body USING(id)"),
                 "profile");
    check_bodies(c, si__db_prepare(db, "SELECT rowid,body,CASE WHEN profiles THEN total END FROM rollup"), "rollup");
    check_bodies(c, si__db_prepare(db, "SELECT id,body,NULL FROM error WHERE length(body)>0"), "error");
    check_bodies(c, si__db_prepare(db, "SELECT rowid,body,NULL FROM snapshot_part"), "snapshot part");
    check_count(c, si__db_prepare(db, "SELECT count(*) FROM profile_body WHERE id NOT IN (SELECT id FROM profile)"),
                "bodies without a profile");
    check_count(c,
                si__db_prepare(db, "SELECT count(*) FROM source WHERE app NOT IN (SELECT id FROM app UNION ALL"
                                   " SELECT id FROM app_gone WHERE done_ms IS NULL)"),
                "sources without an application");
    check_count(c, si__db_prepare(db, "SELECT count(*) FROM point WHERE series NOT IN (SELECT id FROM series)"),
                "metrics without a name");
    check_count(c, si__db_prepare(db, "SELECT count(*) FROM segment WHERE name NOT IN (SELECT id FROM segment_name)"),
                "segments without a name");
    check_count(c, si__db_prepare(db, "SELECT count(*) FROM ledger WHERE length(id)<>16"), "damaged ids in the ledger");
    check_count(c,
                si__db_prepare(db, "SELECT count(*) FROM app WHERE first_report_ms>0 AND last_seen_ms>1000*unixepoch()"
                                   "-86400000 AND id NOT IN (SELECT app FROM ledger)"),
                "applications that reported within a day, of which the ledger knows nothing");
    fprintf(c->out, "ledger: %" PRId64 " reports of the last 21 days\n",
            si__db_int(db, si__db_prepare(db, "SELECT count(*) FROM ledger"), 0));
    fprintf(c->out, "rollups still to be made: %" PRId64 "\n",
            si__db_int(db, si__db_prepare(db, "SELECT count(*) FROM rollup_due"), 0));
}

int si__check(const char *data_dir, FILE *out) {
    char error[512];
    checking c = {.out = out};
    int failed = si__db_open(&c.db, data_dir, SI__DB_READ, error, sizeof error);
    if (failed) {
        fprintf(out, "cannot be read: %s\n", error);
        return failed;
    }
    int64_t version = si__db_int(&c.db, si__db_prepare(&c.db, "PRAGMA user_version"), 0);
    fprintf(out, "version: %" PRId64 "\n", version);
    c.codec = si__body_codec_new();
    failed = !c.codec ? SI_ENOMEM : si__db_exec(&c.db, "BEGIN");
    if (!failed) check_file(&c);
    if (!failed && version == si__schema_version()) {
        failed = check_nodes(&c);
        if (!failed) check_rows(&c);
    } else if (!failed) {
        fprintf(out, "contents: not looked at, this si-dashboard writes version %" PRId64 "\n", si__schema_version());
    }
    if (c.db.failures) c.findings++;
    si__body_codec_free(c.codec);
    free(c.nodes);
    si__db_close(&c.db);
    if (failed) return failed;
    fprintf(out, c.findings ? "findings: %d\n" : "all is well\n", c.findings);
    return c.findings;
}
