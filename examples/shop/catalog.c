/*
 * The catalogue: 20,000 products in SQLite, searched and looked up, and what was sold. Called on the server's threads;
 * each has its own connection. The profiler finds and names the statements by itself.
 */
#include <pthread.h>
#include <si/si.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shop.h"

static const char *const adjectives[] = {"red", "green", "heavy", "light", "small", "folding", "woollen", "copper"};
static const char *const nouns[] = {"lamp",  "chair",    "kettle", "bicycle", "blanket",
                                    "drill", "notebook", "ladder", "clock"};

static char database_path[512];
static pthread_key_t connection_key;

static void close_connection(void *connection) {
    sqlite3_close(connection);
}

/* This thread's own connection, closed when the thread ends; NULL: could not be opened. */
static sqlite3 *thread_connection(void) {
    sqlite3 *connection = pthread_getspecific(connection_key);
    if (connection) return connection;
    if (sqlite3_open_v2(database_path, &connection, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        sqlite3_close(connection);
        return NULL;
    }
    sqlite3_busy_timeout(connection, 2000);
    pthread_setspecific(connection_key, connection);
    return connection;
}

/* Prepares a statement on this thread's connection; NULL when that fails. */
static sqlite3_stmt *prepare(const char *sql) {
    sqlite3 *connection = thread_connection();
    sqlite3_stmt *statement = NULL;
    if (!connection || sqlite3_prepare_v2(connection, sql, -1, &statement, NULL) != SQLITE_OK) return NULL;
    return statement;
}

static int fill(sqlite3 *database) {
    sqlite3_stmt *insert = NULL;
    if (sqlite3_exec(database,
                     "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; BEGIN;"
                     "CREATE TABLE product(id INTEGER PRIMARY KEY, name TEXT, description TEXT, price INTEGER, "
                     "category INTEGER);"
                     "CREATE TABLE sale(id INTEGER PRIMARY KEY, product INTEGER, quantity INTEGER, cents INTEGER);",
                     NULL, NULL, NULL) != SQLITE_OK)
        return -1;
    if (sqlite3_prepare_v2(database, "INSERT INTO product VALUES(?,?,?,?,?)", -1, &insert, NULL) != SQLITE_OK)
        return -1;
    for (int id = 1; id <= SHOP_PRODUCTS; id++) {
        char name[64], description[160];
        const char *adjective = adjectives[id % 8], *noun = nouns[id / 8 % 9];
        snprintf(name, sizeof name, "%s %s no. %d", adjective, noun, id);
        snprintf(description, sizeof description, "A %s %s of batch %d, made to last, delivered within %d days",
                 adjective, noun, id * 7919 % 1000, 1 + id % 5);
        sqlite3_bind_int(insert, 1, id);
        sqlite3_bind_text(insert, 2, name, -1, SQLITE_STATIC);
        sqlite3_bind_text(insert, 3, description, -1, SQLITE_STATIC);
        sqlite3_bind_int(insert, 4, 500 + id * 31 % 20000);
        sqlite3_bind_int(insert, 5, id % 12);
        if (sqlite3_step(insert) != SQLITE_DONE) break;
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    return sqlite3_exec(database, "COMMIT", NULL, NULL, NULL) == SQLITE_OK ? 0 : -1;
}

int shop_catalog_create(const char *path) {
    sqlite3 *database = NULL;
    snprintf(database_path, sizeof database_path, "%s", path);
    if (pthread_key_create(&connection_key, close_connection)) return -1;
    remove(path); /* the shop starts with a new catalogue every time */
    int result = sqlite3_open(path, &database) == SQLITE_OK ? fill(database) : -1;
    sqlite3_close(database);
    return result;
}

static void read_product(sqlite3_stmt *row, shop_product *out) {
    const char *name = (const char *)sqlite3_column_text(row, 1);
    out->id = sqlite3_column_int(row, 0);
    snprintf(out->name, sizeof out->name, "%s", name ? name : "");
    out->list_price_cents = sqlite3_column_int64(row, 2);
    out->category = sqlite3_column_int(row, 3);
}

/* Literals are part of these two texts, so each is another text; in the dashboard they are one statement each. */
int shop_catalog_product(int id, shop_product *out) {
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT id, name, price, category FROM product WHERE id = %d", id);
    sqlite3_stmt *select = prepare(sql);
    if (!select) return 0;
    int found = sqlite3_step(select) == SQLITE_ROW;
    if (found) read_product(select, out);
    sqlite3_finalize(select);
    return found;
}

void shop_catalog_sold(int order, int product, int quantity, int64_t cents) {
    char sql[160];
    sqlite3 *connection = thread_connection();
    snprintf(sql, sizeof sql, "INSERT OR REPLACE INTO sale VALUES(%d, %d, %d, %lld)", order % 4096, product, quantity,
             (long long)cents); /* the last 4,096 */
    if (!connection || sqlite3_exec(connection, sql, NULL, NULL, NULL) != SQLITE_OK)
        si_error_record("sale not recorded", connection ? sqlite3_errmsg(connection) : "no connection");
}

/*
 * SEEDED DEFECT 2 (slow query): a pattern that starts with % can use no index, so each search reads all 20,000 rows,
 * folds the case of both columns, and sorts what it found by a computed value. A full-text index would answer in
 * microseconds.
 */
int shop_catalog_search(const char *text, shop_product *out, int at_most) {
    static const char sql[] =
        "SELECT id, name, price, category FROM product"
        " WHERE lower(name) LIKE '%' || lower(?1) || '%' OR lower(description) LIKE '%' || lower(?1) || '%'"
        " ORDER BY length(description), lower(name) LIMIT ?2";
    int count = -1;
    sqlite3_stmt *select = prepare(sql);
    if (select) {
        count = 0;
        sqlite3_bind_text(select, 1, text, -1, SQLITE_STATIC);
        sqlite3_bind_int(select, 2, at_most);
        while (count < at_most && sqlite3_step(select) == SQLITE_ROW) read_product(select, &out[count++]);
        sqlite3_finalize(select);
    }
    return count;
}
