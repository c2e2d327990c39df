/* Every collector, in the order they are shown. The only place that names them. */
#include "collector.h"

extern const si__collector si__collector_cpu, si__collector_segment, si__collector_error;
extern const si__collector si__collector_process, si__collector_host;
extern const si__collector si__collector_http, si__collector_database;
extern const si__collector si__collector_heap;
extern const si__collector si__collector_lua_vm;
extern const si__collector si__collector_lock, si__collector_wait;

/* One a line, so that one collector more is one line more. */
/* clang-format off */
const si__collector *const si__collectors[] = {
    &si__collector_cpu,
    &si__collector_segment,
    &si__collector_error,
    &si__collector_process,
    &si__collector_host,
    &si__collector_heap,
    &si__collector_lock,
    &si__collector_wait,
    &si__collector_http,
    &si__collector_database,
    &si__collector_lua_vm,
    NULL,
};
/* clang-format on */
