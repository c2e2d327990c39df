/*
 * The shop's pages: which function answers which request. Called on the server's threads; how long each takes is
 * measured around libmicrohttpd's handler.
 */
#include <si/si.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shop.h"

void shop_answer(shop_request *request, int status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&request->body, format, arguments);
    va_end(arguments);
    request->body_bytes = length < 0 ? 0 : (size_t)length;
    if (length < 0) request->body = NULL;
    request->status = status;
}

static void home(shop_request *request) {
    shop_answer(request, 200, "{\"shop\":\"si example shop\",\"products\":%d}\n", SHOP_PRODUCTS);
}

static void search(shop_request *request) {
    enum { AT_MOST = 20 };
    shop_product found[AT_MOST];
    char list[AT_MOST * 160];
    size_t length = 0;
    int count = shop_catalog_search(request->query, found, AT_MOST);
    if (count < 0) {
        shop_answer(request, 500, "{\"error\":\"the catalogue cannot be read\"}\n");
        return;
    }
    list[0] = '\0';
    for (int i = 0; i < count; i++)
        length += (size_t)snprintf(list + length, sizeof list - length, "%s{\"id\":%d,\"name\":\"%s\",\"cents\":%lld}",
                                   i ? "," : "", found[i].id, found[i].name, (long long)shop_price_order(&found[i], 1));
    shop_answer(request, 200, "{\"found\":[%s]}\n", list);
}

static void show_product(shop_request *request) {
    shop_product product;
    if (!shop_catalog_product(request->id, &product)) {
        shop_answer(request, 404, "{\"error\":\"no such product\"}\n");
        return;
    }
    /* What 1 to 40 units cost, for the table on the page. */
    int64_t cents = 0;
    for (int quantity = 1; quantity <= 40; quantity++) cents = shop_price_order(&product, quantity);
    shop_answer(request, 200, "{\"id\":%d,\"name\":\"%s\",\"cents_for_40\":%lld}\n", product.id, product.name,
                (long long)cents);
}

/* Value of a field in a posted form, or 0. */
static int posted_number(const char *form, const char *field) {
    const char *found = strstr(form, field);
    return found ? (int)strtol(found + strlen(field), NULL, 10) : 0;
}

static void place_order(shop_request *request) {
    shop_product product;
    int quantity = posted_number(request->posted, "quantity=");
    if (quantity < 1 || quantity > 500 || !shop_catalog_product(posted_number(request->posted, "product="), &product)) {
        shop_answer(request, 400, "{\"error\":\"product and quantity are needed\"}\n");
        return;
    }
    if (shop_stock_reserve(product.id, quantity) < 0) {
        shop_answer(request, 503, "{\"error\":\"the inventory does not answer\"}\n");
        return;
    }
    int64_t cents = shop_price_order(&product, quantity);
    int number = shop_order_place(&product, quantity, cents);
    shop_catalog_sold(number, product.id, quantity, cents);
    shop_letter_send(number, &product, quantity, cents);
    shop_answer(request, 201, "{\"order\":%d,\"cents\":%lld}\n", number, (long long)cents);
}

static void check_out(shop_request *request) {
    int status = 0;
    SI_SEGMENT("checkout") status = shop_order_pay(posted_number(request->posted, "order="));
    if (status == 402) {
        shop_answer(request, 402, "{\"error\":\"payment declined\"}\n");
    } else if (status) {
        shop_answer(request, status, "{\"error\":\"no such order\"}\n");
    } else {
        shop_answer(request, 200, "{\"paid\":true}\n");
    }
}

static void show_report(shop_request *request) {
    request->body = shop_order_report(&request->body_bytes);
    request->status = request->body ? 200 : 503;
}

static const struct {
    const char *method, *path; /* a path that ends in / takes a number behind it */
    void (*answer)(shop_request *request);
} routes[] = {
    {"GET", "/products/", show_product}, {"GET", "/products", search},    {"POST", "/orders", place_order},
    {"POST", "/checkout", check_out},    {"GET", "/report", show_report}, {"GET", "/", home},
};

void shop_route(const char *method, shop_request *request) {
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        size_t length = strlen(routes[i].path);
        int with_number = length > 1 && routes[i].path[length - 1] == '/';
        int same_path = with_number ? strncmp(request->path, routes[i].path, length) == 0
                                    : strcmp(request->path, routes[i].path) == 0;
        if (!same_path || strcmp(method, routes[i].method) != 0) continue;
        routes[i].answer(request);
        return;
    }
    shop_answer(request, 404, "{\"error\":\"not found\"}\n");
}
