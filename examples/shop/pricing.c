/*
 * What a customer pays: a list of price rules, some of which hold others, walked for a product. Called on the server's
 * threads; pure.
 */
#include <si/si.h>

#include "shop.h"

typedef struct price_rule price_rule;

/* How one rule changes a price. In thousandths of a cent, so that rounding happens once. */
typedef int64_t (*apply_fn)(const price_rule *rule, const shop_product *product, int unit, int64_t price);

struct price_rule {
    apply_fn apply;
    int64_t permille;          /* 1000: unchanged */
    int category, from_unit;   /* when the rule holds */
    const price_rule *members; /* of a group */
    int member_count;
};

enum { THOUSANDTHS = 1000, CURVE_STEPS = 400 };

static int64_t discount_by_category(const price_rule *rule, const shop_product *product, int unit, int64_t price) {
    (void)unit;
    return product->category == rule->category ? price * rule->permille / 1000 : price;
}

static int64_t discount_by_quantity(const price_rule *rule, const shop_product *product, int unit, int64_t price) {
    (void)product;
    return unit >= rule->from_unit ? price * rule->permille / 1000 : price;
}

/* Integrates a demand curve in small steps; the result depends on the product alone. */
__attribute__((noinline)) static int64_t demand_curve(const shop_product *product) {
    double level = 1.0, slope = (double)(product->id % 97) / 9700.0;
    for (int step = 1; step <= CURVE_STEPS; step++) level += slope * (1.0 - level * level / (1.0 + step)) / step;
    return (int64_t)(level * 1000.0);
}

static int64_t surcharge_by_demand(const price_rule *rule, const shop_product *product, int unit, int64_t price) {
    (void)unit;
    int64_t demand = demand_curve(product);
    return price + price * (demand - 1000) * rule->permille / 1000000;
}

__attribute__((noinline)) static int64_t apply_group(const price_rule *rule, const shop_product *product, int unit,
                                                     int64_t price) {
    for (int i = 0; i < rule->member_count; i++) {
        const price_rule *member = &rule->members[i];
        price = member->apply(member, product, unit, price);
    }
    return price;
}

static const price_rule seasonal[] = {
    {.apply = discount_by_category, .permille = 950, .category = 3},
    {.apply = discount_by_category, .permille = 900, .category = 7},
    {.apply = surcharge_by_demand, .permille = 80},
};
static const price_rule volume[] = {
    {.apply = discount_by_quantity, .permille = 990, .from_unit = 3},
    {.apply = discount_by_quantity, .permille = 980, .from_unit = 10},
    {.apply = surcharge_by_demand, .permille = -30},
};
static const price_rule groups[] = {
    {.apply = apply_group, .members = seasonal, .member_count = 3},
    {.apply = apply_group, .members = volume, .member_count = 3},
};
static const price_rule price_list = {.apply = apply_group, .members = groups, .member_count = 2};

__attribute__((noinline)) static int64_t price_one_unit(const shop_product *product, int unit) {
    return price_list.apply(&price_list, product, unit, product->list_price_cents * THOUSANDTHS);
}

/*
 * SEEDED DEFECT 1 (hot spot): the whole price list, with its demand curve, is walked again for every single unit,
 * although only the quantity discounts depend on the unit. Computing the curve once per product would take a hundredth
 * of the time.
 */
int64_t shop_price_order(const shop_product *product, int quantity) {
    int64_t total = 0;
    SI_SEGMENT("price order") {
        for (int unit = 1; unit <= quantity; unit++) total += price_one_unit(product, unit);
    }
    return (total + THOUSANDTHS / 2) / THOUSANDTHS;
}
