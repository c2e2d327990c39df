/* Route: how much of the profiles one call (a node) or one function was, over time. Workers' threads. */
#include <errno.h>
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"
#include "tree.h"

typedef struct sample {
    int64_t t, whole, part;
} sample;

typedef struct trend {
    sample *samples;
    size_t count, capacity;
    int failed;
} trend;

static sample *at_time(trend *tr, int64_t t) {
    for (size_t i = tr->count; i-- > 0 && tr->samples[i].t >= t;) /* times come in order */
        if (tr->samples[i].t == t) return &tr->samples[i];
    return NULL;
}

/* Node 0 is told first for each time, then the call. */
static int note(void *arg, uint32_t node, int64_t t, int64_t total) {
    trend *tr = arg;
    if (node) {
        sample *found = at_time(tr, t);
        if (found) found->part = total;
        return 0;
    }
    if (tr->count == tr->capacity) {
        size_t capacity = tr->capacity ? tr->capacity * 2 : 256;
        sample *more = realloc(tr->samples, capacity * sizeof *more);
        if (!more) return SI_ENOMEM;
        tr->samples = more;
        tr->capacity = capacity;
    }
    tr->samples[tr->count++] = (sample){t, total, 0};
    return 0;
}

static void answer_points(si__request *request, const trend *tr) {
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "points");
    for (size_t i = 0; i < tr->count; i++) {
        if (tr->samples[i].whole == 0) continue;
        si__json_array_begin(&json, NULL);
        si__json_put_int(&json, NULL, tr->samples[i].t);
        si__json_put_number(&json, NULL, (double)tr->samples[i].part / (double)tr->samples[i].whole);
        si__json_array_end(&json);
    }
    si__json_array_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

void si__handle_trend(si__request *request) {
    si__range range;
    trend tr = {0};
    const char *type = si__request_argument(request, "type", "cpu");
    const char *function = si__request_argument(request, "function", "");
    if (si__request_range(request, &range)) return;
    int64_t node = si__tree_id(request, "node");
    if (node < 0) return;
    if (!node && !*function) {
        si__answer_error(request, 400, "invalid", "A trend is of a node or of a function.", "function");
        return;
    }
    int failed;
    if (node) {
        failed = node < SI__PLACES_LIMIT ? si__read_node_trend(request->reader, &range, type, (uint32_t)node, note, &tr)
                                         : SI_OK;
    } else {
        failed = si__read_function_trend(request->reader, &range, type, function,
                                         si__request_argument(request, "module", ""), note, &tr);
    }
    if (failed)
        si__answer_failure(request, failed);
    else
        answer_points(request, &tr);
    free(tr.samples);
}
