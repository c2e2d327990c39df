/*
 * Route: what rules would have looked at, as the file that an agent records: `si rules replay` and `explain` ask for
 * it. A week, by the minute where it is of the last 24 hours, before that by ten minutes. Workers' threads.
 */
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/history/history.h"
#include "../../runtime/script/script.h"
#include "clock.h"
#include "handlers.h"
#include "watch_sites.h"

#define DAY_MS 86400000ll
#define LONGEST_MS (8 * DAY_MS) /* a week, and the day before it, for baselines */
#define PATIENCE_NS 60000000000ll
#define BELOW 8

typedef struct wanted {
    si__range range;
    int plain;
    unsigned types; /* whose call sites: a bit for each */
    double below_ms[BELOW];
    size_t below_count;
} wanted;

/* sites=heap,cpu: not 0: answered with an error already. */
static int read_types(si__request *request, wanted *w) {
    for (const char *at = si__request_argument(request, "sites", ""); *at; at += *at == ',') {
        char name[32] = "";
        size_t length = strcspn(at, ",");
        if (length < sizeof name) memcpy(name, at, length);
        int type = si__profile_type_named(name);
        if (type < 0) {
            si__answer_error(request, 400, "invalid",
                             "Call sites are of cpu, heap, alloc, lock, network, system or "
                             "channel, separated by commas.",
                             "sites");
            return SI_EINVAL;
        }
        w->types |= 1u << type;
        at += length;
    }
    return SI_OK;
}

/* below=250,1000: durations in ms. */
static int read_below(si__request *request, wanted *w) {
    for (const char *at = si__request_argument(request, "below", ""); *at; at += *at == ',') {
        char *end;
        double ms = strtod(at, &end);
        if (end == at || (*end && *end != ',') || !(ms > 0 && ms < 1e12) || w->below_count == BELOW) {
            si__answer_error(request, 400, "invalid", "Durations are milliseconds, at most 8, separated by commas.",
                             "below");
            return SI_EINVAL;
        }
        w->below_ms[w->below_count++] = ms;
        at = end;
    }
    return SI_OK;
}

static int read_wanted(si__request *request, wanted *w) {
    *w = (wanted){0};
    if (si__request_range(request, &w->range) || read_types(request, w) || read_below(request, w)) return SI_EINVAL;
    w->plain = strcmp(si__request_argument(request, "at", "agent"), "dashboard") != 0;
    if (w->range.to_ms - w->range.from_ms <= LONGEST_MS) return SI_OK;
    si__answer_error(request, 400, "invalid", "At most eight days at a time.", "from");
    return SI_EINVAL;
}

static void feed_sites(const si__watch_feed *feed, si__watch_sites *sites, unsigned types, int64_t from_ms,
                       int64_t to_ms) {
    int64_t time_ms = to_ms - from_ms > SI__WATCH_MINUTE_MS ? (from_ms + to_ms) / 2 : to_ms;
    for (int type = 0; type < SI__PROFILE_TYPES; type++)
        if (types >> type & 1) si__watch_sites_step(feed, sites, (si__profile_type)type, from_ms, to_ms, time_ms);
}

/* 0, or SI_ELIMIT: it would take too long. */
static int fill(const si__watch_feed *feed, const wanted *w) {
    si__watch_sites sites = {0};
    int64_t until_ns = si__clock_monotonic_ns() + PATIENCE_NS, fine_ms = w->range.to_ms - DAY_MS - 3600000,
            at = w->range.from_ms - w->range.from_ms % SI__WATCH_COARSE_MS;
    int failed = SI_OK;
    while (at + SI__WATCH_MINUTE_MS <= w->range.to_ms && !failed) {
        int coarse = at + SI__WATCH_COARSE_MS <= fine_ms;
        int64_t step_ms = coarse ? SI__WATCH_COARSE_MS : SI__WATCH_MINUTE_MS;
        if (coarse)
            si__watch_feed_coarse(feed, at);
        else
            si__watch_feed_minute(feed, at);
        feed_sites(feed, &sites, w->types, at, at + step_ms);
        at += step_ms;
        if (si__clock_monotonic_ns() > until_ns) failed = SI_ELIMIT;
    }
    si__watch_sites_clear(&sites);
    return failed;
}

void si__handle_history(si__request *request) {
    wanted w;
    uint8_t *encoded = NULL;
    size_t length = 0;
    if (read_wanted(request, &w)) return;
    si__watch_feed feed = {.reader = request->reader,
                           .app = w.range.app,
                           .history = si__history_new(),
                           .source = w.range.source,
                           .plain = w.plain};
    const si__script_env env = {.history = feed.history, .at_dashboard = !w.plain};
    feed.script = feed.history ? si__script_new(&env) : NULL;
    int failed = SI_ENOMEM;
    if (feed.script) {
        si__script_count_below(feed.script, w.below_ms, w.below_count);
        failed = fill(&feed, &w);
    }
    if (!failed) failed = si__history_encode(feed.history, &encoded, &length);
    si__script_free(feed.script);
    si__history_free(feed.history);
    if (failed == SI_ELIMIT)
        si__answer_error(request, 503, "too_much",
                         "This is too much to read in a minute: ask for less time, or for "
                         "one source.",
                         "from");
    else if (failed)
        si__answer_failure(request, failed);
    else
        si__answer_take(request, "application/octet-stream", (char *)encoded, length);
}
