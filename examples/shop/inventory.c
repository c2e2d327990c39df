/*
 * The second service, started with --inventory: how many units of each product are in stock. Called on its server's
 * threads.
 */
#include <pthread.h>
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "shop.h"

static pthread_rwlock_t stock_lock = PTHREAD_RWLOCK_INITIALIZER;
static int taken[SHOP_PRODUCTS + 1];

/* Deliveries as they would be read from a log: which batches reached the warehouse is computed anew each time. */
static int delivered(int product) {
    unsigned state = (unsigned)product * 2654435761u, units = 0;
    for (int delivery = 0; delivery < 20000; delivery++) {
        state = state * 1664525u + 1013904223u;
        units += state >> 30;
    }
    return (int)units;
}

static int reserve(int product, int quantity) {
    int left = 0;
    SI_SEGMENT("reserve units") {
        int in_store = delivered(product);
        pthread_rwlock_wrlock(&stock_lock);
        left = in_store - taken[product];
        if (left < quantity) taken[product] = 0; /* a delivery arrives */
        taken[product] += quantity;
        pthread_rwlock_unlock(&stock_lock);
    }
    return left;
}

void shop_inventory_route(const char *method, shop_request *request) {
    if (strcmp(method, "GET") == 0 && strncmp(request->path, "/stock/", 7) == 0 && request->id > 0 &&
        request->id <= SHOP_PRODUCTS) {
        long quantity = strtol(request->query, NULL, 10);
        int left = reserve(request->id, quantity > 0 && quantity < 1000 ? (int)quantity : 1);
        shop_answer(request, 200, "{\"product\":%d,\"left\":%d}\n", request->id, left);
    } else {
        shop_answer(request, 404, "{\"error\":\"not found\"}\n");
    }
}
