/* What the writer remembers; see memo.h. Tables of a fixed size: what collides is forgotten, which costs a question. */
#include "memo.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define PERIODS 1024
#define SERIES 65536
#define NAME_CAP 56

typedef struct series {
    int64_t source, id;
    char name[NAME_CAP];
} series;

struct si__memo {
    uint8_t key[crypto_shorthash_KEYBYTES];
    si__memo_period periods[PERIODS];
    series series[SERIES];
};

si__memo *si__memo_new(void) {
    si__memo *memo = calloc(1, sizeof *memo);
    if (memo) randombytes_buf(memo->key, sizeof memo->key);
    return memo;
}

void si__memo_free(si__memo *memo) {
    free(memo);
}

void si__memo_forget(si__memo *memo) {
    memset(memo->periods, 0, sizeof memo->periods);
    memset(memo->series, 0, sizeof memo->series);
}

static uint64_t place_of(const si__memo *memo, int64_t a, int64_t b, const char *text, size_t cap) {
    uint8_t out[crypto_shorthash_BYTES], input[16 + 64];
    size_t length = strnlen(text, cap);
    uint64_t place;
    memcpy(input, &a, 8);
    memcpy(input + 8, &b, 8);
    memcpy(input + 16, text, length);
    crypto_shorthash(out, input, 16 + length, memo->key);
    memcpy(&place, out, sizeof place);
    return place;
}

si__memo_period *si__memo_find(si__memo *memo, int64_t app, const char *type, int64_t t) {
    si__memo_period *period = &memo->periods[place_of(memo, app, t, type, 63) % PERIODS];
    if (period->app == app && period->t == t && !strcmp(period->type, type)) return period;
    *period = (si__memo_period){.app = app, .t = t};
    memcpy(period->type, type, strnlen(type, sizeof period->type - 1));
    return period;
}

si__memo_period *si__memo_fullest(si__memo *memo, uint64_t least) {
    si__memo_period *fullest = NULL;
    for (size_t i = 0; i < PERIODS; i++)
        if (memo->periods[i].pending >= (fullest ? fullest->pending + 1 : least)) fullest = &memo->periods[i];
    return fullest;
}

int64_t si__memo_series(const si__memo *memo, int64_t source, const char *name) {
    if (strlen(name) >= NAME_CAP) return 0;
    const series *s = &memo->series[place_of(memo, source, 0, name, NAME_CAP) % SERIES];
    return s->source == source && !strcmp(s->name, name) ? s->id : 0;
}

void si__memo_keep_series(si__memo *memo, int64_t source, const char *name, int64_t id) {
    if (strlen(name) >= NAME_CAP) return;
    series *s = &memo->series[place_of(memo, source, 0, name, NAME_CAP) % SERIES];
    *s = (series){.source = source, .id = id};
    memcpy(s->name, name, strlen(name) + 1);
}
