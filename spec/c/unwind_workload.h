/*
 * Real library code to unwind through. Each workload calls `visit` (when not NULL) from callbacks deep inside the
 * library.
 */
#ifndef SPEC_UNWIND_WORKLOAD_H
#define SPEC_UNWIND_WORKLOAD_H

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*workload_visit)(void);

typedef struct workload {
    const char *name;
    void (*run)(workload_visit visit);
} workload;

/* libc, libcurl, liblua, libsqlite3 (unwind_workload.c). */
void workload_libc(workload_visit visit);
void workload_curl(workload_visit visit);
void workload_lua(workload_visit visit);
void workload_sqlite(workload_visit visit);
void workload_crypto(workload_visit visit);

/* libstdc++ (unwind_workload_cxx.cc). */
void workload_cxx_algorithms(workload_visit visit);
void workload_cxx_exceptions(workload_visit visit);
void workload_cxx_streams(workload_visit visit);

#ifdef __cplusplus
}
#endif

#endif
