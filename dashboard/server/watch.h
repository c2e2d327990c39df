/*
 * Rules that run at the dashboard: over the sources of each application, for what a dead process cannot say itself.
 *
 * Each application has an engine of its own. The series it sees: "agent.silence/HOST/SOURCE", seconds since that
 * source's last report (sources that ended in order, or that another one on the same host replaced, have none), and
 * what all sources reported, minute by minute (watch_feed.h). Histories are kept in the data directory and otherwise
 * read from the store again, 24 h back; together they are bounded. What rules are in force, how they are and what they
 * cost is written to the store as "rules_loaded:APP". Alerting thread only.
 */
#ifndef SI_SERVER_WATCH_H
#define SI_SERVER_WATCH_H

#include "store.h"

typedef struct si__watch si__watch;

typedef struct si__watch_options {
    si__store *store;
    si__reader *reader;
    const char *data_dir;  /* histories go into its folder "rules" */
    const char *rules_dir; /* NULL: the built-in rules */
    void (*log)(void *arg, int level, const char *message);
    void *log_arg;
} si__watch_options;

si__watch *si__watch_new(const si__watch_options *options); /* NULL: out of memory */
void si__watch_free(si__watch *watch); /* keeps histories, and the state of pending and firing alerts */
void si__watch_tick(si__watch *watch, int64_t now_ms);
void si__watch_reload(si__watch *watch); /* the rules have changed */

#endif
