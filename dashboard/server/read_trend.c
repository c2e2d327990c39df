/*
 * Reads how much a call or a function took over time; see store.h. Readers' threads, inside one snapshot.
 *
 * Trends of one call or function are exact: they walk the bodies. Trends of many calls at once (beside a tree) come
 * from the heaviest calls that each rollup names, which are read once a snapshot.
 */
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "hot.h"
#include "kind.h"
#include "part.h"
#include "rollup.h"

int si__read_hot(si__reader *reader, const si__range *range, const char *type, uint32_t node, si__trend_each each,
                 void *arg) {
    const si__hot *hot;
    int failed = si__hot_get(reader, range, type, &hot);
    for (size_t i = 0; i < (failed ? 0 : hot->count) && !failed; i++) {
        const si__entry *entry = si__hot_find(&hot->periods[i], node);
        if (entry) failed = each(arg, node, hot->periods[i].t, entry->value);
    }
    return failed;
}

/* ---- One call or function ---- */

typedef struct piece { /* of a level: what one source has in one step */
    int64_t t, source;
    double inside, whole;
    uint64_t profiles;
} piece;

typedef struct trend {
    si__reader *reader;
    int64_t step_ms, first;
    uint32_t node;    /* the call; 0: the frames */
    uint32_t *frames; /* sorted: the function's frames, one a line */
    size_t frame_count;
    uint8_t *known; /* per node: 0 not asked, 1 outside, 2 inside */
    int64_t known_count;
    piece *pieces; /* of a flow: one a step, in order; of a level: one a part */
    size_t count, capacity;
    int is_level;
} trend;

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int find_frames(trend *tr, const char *function, const char *module) {
    si__db *db = &tr->reader->db;
    sqlite3_stmt *read = si__db_prepare(db, "SELECT id FROM frame WHERE function=?1 AND (?2='' OR module=?2)");
    si__db_bind(read, "ss", function, module);
    size_t capacity = 0;
    int row;
    while ((row = si__db_step(db, read)) == 1) {
        if (tr->frame_count == capacity) {
            capacity = capacity ? capacity * 2 : 64;
            uint32_t *more = realloc(tr->frames, capacity * sizeof *more);
            if (!more) {
                sqlite3_reset(read);
                return SI_ENOMEM;
            }
            tr->frames = more;
        }
        tr->frames[tr->frame_count++] = (uint32_t)sqlite3_column_int64(read, 0);
    }
    if (tr->frame_count) qsort(tr->frames, tr->frame_count, sizeof *tr->frames, by_number);
    return row;
}

static int matches(const trend *tr, uint32_t node, uint32_t frame) {
    if (tr->node) return node == tr->node;
    return bsearch(&frame, tr->frames, tr->frame_count, sizeof *tr->frames, by_number) != NULL;
}

/* Is the node, or one of its callers, what is asked for? Callers have smaller numbers, so the walk ends. */
static int ask(trend *tr, uint32_t node) {
    uint32_t at = node;
    int answer = 0;
    while (at >= (tr->node ? tr->node : 1) && at < tr->known_count && !answer) {
        if (tr->known[at]) {
            answer = tr->known[at];
            break;
        }
        si__place place = si__places_get(tr->reader->places, &tr->reader->db, at);
        if (matches(tr, at, place.frame)) answer = 2;
        if (!answer) at = place.parent < at ? place.parent : 0;
    }
    if (!answer) answer = 1;
    for (uint32_t step = node; step && step < tr->known_count && !tr->known[step];) {
        tr->known[step] = (uint8_t)answer;
        if (step == at) break;
        uint32_t parent = si__places_get(tr->reader->places, &tr->reader->db, step).parent;
        step = parent < step ? parent : 0;
    }
    return answer;
}

static piece *piece_of(trend *tr, const si__part *part) {
    int64_t t = part->start_ms - part->start_ms % tr->step_ms;
    size_t index = tr->count;
    if (!tr->is_level) {
        index = (size_t)((t - tr->first) / tr->step_ms);
    } else if (tr->count && tr->pieces[tr->count - 1].t == t && tr->pieces[tr->count - 1].source == part->source) {
        index = tr->count - 1;
    }
    if (index >= tr->capacity) {
        size_t wanted = index + index / 2 + 64;
        piece *more = realloc(tr->pieces, wanted * sizeof *more);
        if (!more) return NULL;
        memset(more + tr->capacity, 0, (wanted - tr->capacity) * sizeof *more);
        tr->pieces = more;
        tr->capacity = wanted;
    }
    if (index >= tr->count) tr->count = index + 1;
    tr->pieces[index].t = t;
    tr->pieces[index].source = tr->is_level ? part->source : 0;
    return &tr->pieces[index];
}

static int add_part(void *arg, const si__part *part) {
    trend *tr = arg;
    piece *p = piece_of(tr, part);
    if (!p) return SI_ENOMEM;
    int64_t inside = 0, whole = 0;
    for (size_t i = 0; i < part->count; i++) {
        const si__entry *e = &part->entries[i];
        int answer = e->node < tr->known_count ? tr->known[e->node] : 1;
        if (!answer) answer = ask(tr, e->node);
        whole = si__wrap_add(whole, e->value);
        if (answer == 2) inside = si__wrap_add(inside, e->value);
    }
    p->inside += (double)inside;
    p->whole += (double)whole;
    p->profiles += part->profiles;
    return SI_OK;
}

static int by_time(const void *a, const void *b) {
    const piece *x = a, *y = b;
    if (x->t != y->t) return x->t < y->t ? -1 : 1;
    return (x->source > y->source) - (x->source < y->source);
}

/* Each source's average, added up: pieces of one source are joined before they are divided. */
static void average(trend *tr) {
    size_t kept = 0;
    if (tr->count) qsort(tr->pieces, tr->count, sizeof *tr->pieces, by_time);
    for (size_t i = 0, next; i < tr->count; i = next) {
        piece sum = tr->pieces[i];
        for (next = i + 1; next < tr->count && by_time(&tr->pieces[next], &sum) == 0; next++) {
            sum.inside += tr->pieces[next].inside;
            sum.whole += tr->pieces[next].whole;
            sum.profiles += tr->pieces[next].profiles;
        }
        double parts = sum.profiles ? (double)sum.profiles : 1;
        if (kept && tr->pieces[kept - 1].t == sum.t) {
            tr->pieces[kept - 1].inside += sum.inside / parts;
            tr->pieces[kept - 1].whole += sum.whole / parts;
        } else {
            sum.inside /= parts;
            sum.whole /= parts;
            tr->pieces[kept++] = sum;
        }
    }
    tr->count = kept;
}

static int run(trend *tr, const si__range *range, const char *type, si__trend_each each, void *arg) {
    int level = si__hot_level(range->to_ms - range->from_ms), top = si__parts_top(range, type, NULL);
    si__parts parts = {tr->reader, range, type, NULL, top < level ? top : level, 0};
    tr->step_ms = si__rollup_steps_ms[level];
    tr->first = range->from_ms < 0 ? 0 : range->from_ms - range->from_ms % tr->step_ms;
    tr->is_level = si__kind_of(type)->nature == SI__LEVEL;
    tr->known_count = si__db_int(&tr->reader->db, si__db_prepare(&tr->reader->db, "SELECT max(id) FROM node"), 0) + 1;
    tr->known = calloc((size_t)tr->known_count, 1);
    int failed = tr->known ? si__parts_each(&parts, add_part, tr) : SI_ENOMEM;
    if (!failed && tr->is_level) average(tr);
    for (size_t i = 0; i < tr->count && !failed; i++) {
        const piece *p = &tr->pieces[i];
        if (!p->profiles) continue;
        failed = each(arg, 0, p->t, (int64_t)p->whole);
        failed = failed ? failed : each(arg, tr->node ? tr->node : 1, p->t, (int64_t)p->inside);
    }
    free(tr->known);
    free(tr->pieces);
    return failed;
}

int si__read_function_trend(si__reader *reader, const si__range *range, const char *type, const char *function,
                            const char *module, si__trend_each each, void *arg) {
    trend tr = {.reader = reader};
    int failed = find_frames(&tr, function, module);
    if (!failed && tr.frame_count) failed = run(&tr, range, type, each, arg);
    free(tr.frames);
    return failed;
}

/* Is what the call has known for every period without a look at the bodies? */
static int is_hot(const si__hot *hot, uint32_t node) {
    for (size_t i = 0; i < hot->count; i++)
        if (!hot->periods[i].exact && !si__hot_find(&hot->periods[i], node)) return 0;
    return 1;
}

int si__read_node_trend(si__reader *reader, const si__range *range, const char *type, uint32_t node,
                        si__trend_each each, void *arg) {
    trend tr = {.reader = reader, .node = node};
    const si__hot *hot;
    if (!node) return SI_OK;
    int failed = range->source ? SI_OK : si__hot_get(reader, range, type, &hot);
    if (failed) return failed;
    if (range->source || !is_hot(hot, node)) return run(&tr, range, type, each, arg);
    for (size_t i = 0; i < hot->count && !failed; i++) {
        const si__hot_period *period = &hot->periods[i];
        const si__entry *whole = si__hot_find(period, 0), *call = si__hot_find(period, node);
        failed = each(arg, 0, period->t, whole ? whole->value : 0);
        failed = failed ? failed : each(arg, node, period->t, call ? call->value : 0);
    }
    return failed;
}
