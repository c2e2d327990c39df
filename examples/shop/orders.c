/*
 * The ledger of orders, behind one lock. Called on the server's threads.
 */
#include <pthread.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shop.h"

enum { LEDGER_ORDERS = 4096, RECEIPT_BYTES = 16384, RECEIPTS_AT_MOST = 4 * 1024 }; /* at most 64 MiB are leaked */

typedef struct order {
    int number, product, quantity, paid;
    int64_t price_cents;
} order;

typedef struct receipt {
    struct receipt *older;
    char text[RECEIPT_BYTES];
} receipt;

static pthread_mutex_t ledger_lock = PTHREAD_MUTEX_INITIALIZER;
static order ledger[LEDGER_ORDERS]; /* the last orders; number n is at n % LEDGER_ORDERS */
static int last_number;
static receipt *receipts;
static int receipt_count;

/*
 * SEEDED DEFECT 4 (leak): a receipt is kept for every order, for a reprint that nobody can ask for, and never dropped.
 * It stops at 64 MiB, so that a demo that runs for days does not take the machine down.
 */
static void keep_receipt(const order *placed, const char *name) {
    if (receipt_count >= RECEIPTS_AT_MOST) return;
    receipt *kept = malloc(sizeof *kept);
    if (!kept) return;
    memset(kept->text, ' ', sizeof kept->text); /* a page, as it would be printed */
    snprintf(kept->text, sizeof kept->text, "Order %d: %d x %s, %lld cents", placed->number, placed->quantity, name,
             (long long)placed->price_cents);
    kept->older = receipts;
    receipts = kept;
    receipt_count++;
}

int shop_order_place(const shop_product *product, int quantity, int64_t price_cents) {
    pthread_mutex_lock(&ledger_lock);
    order *placed = &ledger[++last_number % LEDGER_ORDERS];
    *placed = (order){.number = last_number, .product = product->id, .quantity = quantity, .price_cents = price_cents};
    keep_receipt(placed, product->name);
    int number = placed->number;
    double kept = receipt_count;
    pthread_mutex_unlock(&ledger_lock);
    si_counter_add("shop.orders", 1);
    si_gauge_set("shop.receipts", kept);
    return number;
}

/*
 * SEEDED DEFECT 5 (errors): the payment service turns down one order in 50, which is recorded with the stack that led
 * there.
 */
int shop_order_pay(int number) {
    pthread_mutex_lock(&ledger_lock);
    order *found = &ledger[(unsigned)number % LEDGER_ORDERS];
    int known = number > 0 && found->number == number;
    int64_t price_cents = found->price_cents;
    int declined = number % 50 == 0;
    if (known && !declined) found->paid = 1;
    pthread_mutex_unlock(&ledger_lock);
    if (!known) return 404;
    if (declined) {
        char message[96];
        snprintf(message, sizeof message, "order of %lld cents declined by the bank", (long long)price_cents);
        si_error_record("payment declined", message);
        return 402;
    }
    si_counter_add("shop.revenue", (double)price_cents / 100.0);
    return 0;
}

static int by_price(const void *a, const void *b) {
    int64_t x = ((const order *)a)->price_cents, y = ((const order *)b)->price_cents;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* The report's numbers: sorted by price, with the sum of every price class. */
static size_t format_report(char *out, size_t out_bytes) {
    order *sorted = malloc(sizeof ledger);
    size_t length = 0;
    int64_t sum = 0, paid = 0, classes[16] = {0};
    if (!sorted) return 0;
    memcpy(sorted, ledger, sizeof ledger);
    qsort(sorted, LEDGER_ORDERS, sizeof *sorted, by_price);
    for (int i = 0; i < LEDGER_ORDERS && sorted[i].number; i++) {
        sum += sorted[i].price_cents;
        paid += sorted[i].paid ? sorted[i].price_cents : 0;
        for (int class = 0; class < 16; class ++)
            if (sorted[i].price_cents >> class > 4096) classes[class]++;
    }
    length += (size_t)snprintf(out, out_bytes, "{\"orders\":%d,\"sum_cents\":%lld,\"paid_cents\":%lld,\"classes\":[",
                               last_number, (long long)sum, (long long)paid);
    for (int class = 0; class < 16; class ++)
        length +=
            (size_t)snprintf(out + length, out_bytes - length, "%s%lld", class ? "," : "", (long long)classes[class]);
    length += (size_t)snprintf(out + length, out_bytes - length, "]}\n");
    free(sorted);
    return length;
}

/*
 * SEEDED DEFECT 3 (lock contention): the report sorts and formats under the lock that every order needs. Copying the
 * ledger under the lock and working on the copy would hold it for microseconds.
 */
char *shop_order_report(size_t *bytes) {
    enum { REPORT_BYTES = 2048 };
    char *text = malloc(REPORT_BYTES);
    if (!text) return NULL;
    pthread_mutex_lock(&ledger_lock);
    *bytes = 0;
    for (int again = 0; again < 8; again++)
        *bytes = format_report(text, REPORT_BYTES); /* once per reader, each alike */
    pthread_mutex_unlock(&ledger_lock);
    return text;
}

void shop_orders_free(void) {
    while (receipts) {
        receipt *older = receipts->older;
        free(receipts);
        receipts = older;
    }
}
