/*
 * A small web shop, written the way such programs are, with six defects seeded on purpose for the profiler to find.
 * Each is marked "SEEDED DEFECT" where it is; README.md beside this file lists them.
 *
 * Threads: libmicrohttpd's pool calls the handlers (routes.c); every handler has the thread's own database connection.
 */
#ifndef SHOP_SHOP_H
#define SHOP_SHOP_H

#include <stddef.h>
#include <stdint.h>

enum { SHOP_PRODUCTS = 20000, SHOP_THREADS = 4 };

typedef struct shop_product {
    int id;
    char name[64];
    int64_t list_price_cents;
    int category;
} shop_product;

/* What a handler is given and fills. `body` is malloc'ed and handed to the HTTP server. */
typedef struct shop_request {
    const char *path;   /* "/products/17" */
    const char *query;  /* value of ?q=, or "" */
    const char *posted; /* body of a POST, or "" */
    int id;             /* number at the end of the path, or 0 */
    int status;         /* out: HTTP status */
    char *body;         /* out: JSON */
    size_t body_bytes;  /* out */
} shop_request;

/* ---- catalog.c: products in SQLite ---- */
int shop_catalog_create(const char *path); /* fills an empty database; 0 or -1 */
int shop_catalog_product(int id, shop_product *out);
int shop_catalog_search(const char *text, shop_product *out, int at_most); /* number found, or -1 */
void shop_catalog_sold(int order, int product, int quantity, int64_t cents);

/* ---- pricing.c: what a customer pays; in cents ---- */
int64_t shop_price_order(const shop_product *product, int quantity);

/* ---- orders.c: the ledger of orders, shared by all threads ---- */
int shop_order_place(const shop_product *product, int quantity, int64_t price_cents); /* order number, or -1 */
int shop_order_pay(int order);                                                        /* 0, 402 declined, 404 unknown */
char *shop_order_report(size_t *bytes);                                               /* malloc'ed JSON */
void shop_orders_free(void);

/* ---- stock.c: client of the second service ---- */
void shop_stock_use(const char *url);              /* base URL of the inventory; not copied */
int shop_stock_reserve(int product, int quantity); /* units left, or -1 */

/* ---- letters.c: confirmations, written by a thread of its own ---- */
int shop_letters_start(const char *outbox_path); /* 0 or -1 */
void shop_letter_send(int order, const shop_product *product, int quantity, int64_t price_cents);
void shop_letters_stop(void); /* writes what is waiting first */

/* ---- routes.c and inventory.c: request -> response ---- */
void shop_route(const char *method, shop_request *request);
void shop_inventory_route(const char *method, shop_request *request);

/* Answers with a status and formatted JSON. */
__attribute__((format(printf, 3, 4))) void shop_answer(shop_request *request, int status, const char *format, ...);

/* ---- server.c: libmicrohttpd around a route function ---- */
typedef void (*shop_route_fn)(const char *method, shop_request *request);
struct MHD_Daemon;
struct MHD_Daemon *shop_server_start(uint16_t port, unsigned threads, shop_route_fn route); /* NULL: errno says why */
uint16_t shop_server_port(struct MHD_Daemon *server);
void shop_server_stop(struct MHD_Daemon *server);

#endif
