/*
 * Reports as agents send them, made beforehand and then sent to a dashboard over many connections at once, as fast as
 * it takes them. Used by the dashboard's benchmarks; one thread sends.
 */
#ifndef BENCH_REPORT_LOAD_H
#define BENCH_REPORT_LOAD_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct report_shape {
    unsigned profiles; /* of each report, each of another type */
    unsigned stacks;   /* of each profile, out of `universe` */
    unsigned universe;
    unsigned points, segments;
    unsigned sources; /* agents that take turns */
} report_shape;

/* What an agent with all its samplers on sends a minute, and one large profile a report. */
extern const report_shape report_shape_agent, report_shape_large;

typedef struct report_load {
    uint8_t **requests; /* whole HTTP requests */
    size_t *lengths;
    size_t count, wire_bytes, nodes;
    unsigned profiles_each;
} report_load;

/* `count` reports of the time before end_ms, one a source and minute; first: their first sequence number. */
void report_load_make(report_load *load, const report_shape *shape, size_t count, const char *environment,
                      const char *key, int64_t end_ms, uint64_t first);
void report_load_free(report_load *load);

typedef struct report_load_result {
    size_t acknowledged, refused;
    double seconds, p50_ms, p99_ms; /* of one report, from sending to its 200 */
} report_load_result;

/* Sends all (or until *stop) to 127.0.0.1:port over `connections`. */
report_load_result report_load_send(const report_load *load, int port, unsigned connections, const atomic_int *stop);

#endif
