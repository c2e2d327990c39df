/* The slowest recent requests; see slow.h. A small ring under a lock. */
#include "slow.h"

#include <pthread.h>
#include <stddef.h>

#include "clock.h"

#define KEPT 50
#define SLOW_NS 200000000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    const char *path;
    int64_t duration_ns, time_ms;
} kept[KEPT];
static size_t next;

void si__slow_note(const char *path, int64_t duration_ns) {
    if (duration_ns < SLOW_NS) return;
    pthread_mutex_lock(&lock);
    kept[next % KEPT].path = path;
    kept[next % KEPT].duration_ns = duration_ns;
    kept[next % KEPT].time_ms = si__clock_unix_ms();
    next++;
    pthread_mutex_unlock(&lock);
}

void si__slow_write(si__json_writer *json) {
    si__json_array_begin(json, "slow_requests");
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < KEPT && i < next; i++) {
        size_t at = (next - 1 - i) % KEPT;
        si__json_object_begin(json, NULL);
        si__json_put_string(json, "path", kept[at].path);
        si__json_put_number(json, "ms", (double)kept[at].duration_ns / 1e6);
        si__json_put_int(json, "time_ms", kept[at].time_ms);
        si__json_object_end(json);
    }
    pthread_mutex_unlock(&lock);
    si__json_array_end(json);
}
