/* Memory that runs out somewhere while rules are loaded and run: an error or a missed step, never a crash or a leak. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../runtime/history/history.h"
#include "../../runtime/history/series.h"
#include "../../runtime/script/script.h"
#include "allocation.h"
#include "si/si.h"

#define T0 ((int64_t)1700000000000)
#define STRIDE 43 /* loading takes thousands of allocations: try every 43rd */

static void feed(si__history *history, int64_t now_ms) {
    si__history_add(history, SI__SERIES_METRIC, "process.cpu.utilization", now_ms, 0.95);
    si__history_add(history, SI__SERIES_PROFILE, "cpu", now_ms, 50);
    si__history_add(history, SI__SERIES_CALLSITE, "cpu|f (app)", now_ms, 50);
    si__history_add(history, SI__SERIES_SEGMENT, "checkout|p95", now_ms, 100);
    si__history_add(history, SI__SERIES_ERROR, "db", now_ms, 100);
}

/* One life: load the defaults, run them until alerts fire, save and load the state and the history. */
static void live(int *loaded) {
    char error[4096], name[96];
    char *state = NULL;
    uint8_t *data = NULL;
    size_t length = 0;
    si__history *history = si__history_new();
    si__script_env env = {.history = history, .app = "a", .environment = "e", .host = "h", .cpu_quota = 1};
    si__script *script = history ? si__script_new(&env) : NULL;
    if (script && si__script_load(script, NULL, error, sizeof error) == 0) {
        *loaded = 1;
        for (int64_t minute = 0; minute < 15; minute++) {
            feed(history, T0 + minute * 60000);
            si__script_tick(script, T0 + minute * 60000);
        }
        si__script_segment_name(script, "http /x/1", name, sizeof name);
        if (si__script_state_save(script, &state, &length) == 0)
            si__script_state_load(script, state, length, T0 + 15 * 60000);
        if (si__history_encode(history, &data, &length) == 0) si__history_decode(history, data, length);
    } else if (script) {
        assert_true(*error);
    }
    free(state);
    free(data);
    si__script_free(script);
    si__history_free(history);
}

static void any_allocation_may_fail(void **unused) {
    (void)unused;
    long n = 0;
    int loaded = 0, through = 0;
    while (!through) {
        int now = 0;
        allocations_left = n;
        live(&now);
        through = allocations_left > 0; /* some were left: nothing failed */
        allocations_left = -1;
        loaded += now;
        n += n < 200 ? 1 : STRIDE; /* the first ones open things: try each */
    }
    assert_true(n > 1000);   /* it did fail in many places */
    assert_true(loaded > 0); /* and at last it went through */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
