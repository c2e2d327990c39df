/* Fuzzes rule loading: any text as a rule file. What loads is run for a while over series that match everything. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "../../runtime/script/engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char error[512], name[96];
    si__source_list sources = {0};
    si__history *history = si__history_new();
    si__script_env env = {.history = history, .app = "app", .environment = "test", .host = "host", .cpu_quota = 2};
    si__script *script = si__script_new(&env);
    if (!history || !script || si__sources_add(&sources, "fuzz.lua", "fuzz.lua", (const char *)data, size) != 0)
        abort();
    if (si__script_load_sources(script, &sources, 1, error, sizeof error) == 0) {
        for (int64_t second = 1; second <= 30; second++) {
            int64_t now_ms = 1700000000000 + second * 1000;
            si__history_add(history, SI__SERIES_METRIC, "process.cpu.utilization", now_ms, 0.9);
            si__history_add(history, SI__SERIES_PROFILE, "cpu", now_ms, 50);
            si__history_add(history, SI__SERIES_CALLSITE, "cpu|f (app)", now_ms, 50);
            si__history_add(history, SI__SERIES_SEGMENT, "http /x/1|p95", now_ms, 100);
            si__history_add(history, SI__SERIES_ERROR, "db", now_ms, 100);
            si__script_tick(script, now_ms);
        }
        si__script_segment_name(script, "http /x/1", name, sizeof name);
    }
    si__script_free(script);
    si__history_free(history);
    return 0;
}
