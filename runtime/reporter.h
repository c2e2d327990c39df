/*
 * The reporter: turns what was recorded into a report and brings it on its way.
 *
 * cut (loop) -> symbols (worker) -> history, rules, context (loop) -> encode, compress (worker) -> spool, upload.
 * One report is in the making at a time; a wish that comes meanwhile is served after it. Loop thread only.
 */
#ifndef SI_REPORTER_H
#define SI_REPORTER_H

#include <stdint.h>

#include "context.h"
#include "history/history.h"
#include "recorder.h"
#include "report/spool.h"
#include "report/upload.h"
#include "script/script.h"
#include "settings.h"
#include "symbol/symbolizer.h"
#include "worker.h"

typedef struct si__reporter si__reporter;

typedef struct si__reporter_parts { /* all borrowed; must outlive the reporter */
    si__worker *worker;
    const si__settings *settings;
    const si__identity *identity;
    si__recorder *recorder;
    si__history *history;
    si__script *script;
    si__spool *spool;
    si__upload *upload;          /* NULL: no dashboard */
    si__symbolizer *symbolizer;  /* used on the worker only */
    const uint8_t *agent, *boot; /* 16 bytes each */
    /* Adds statuses and losses to a report. */
    void (*describe)(void *arg, si__report *report);
    void *describe_arg;
} si__reporter_parts;

si__reporter *si__reporter_new(const si__reporter_parts *parts);
void si__reporter_free(si__reporter *reporter); /* only when idle; NULL is allowed */
int si__reporter_busy(const si__reporter *reporter);

/* The upload is about to go: what is in the making still comes into the spool, but nobody is told. */
void si__reporter_detach(si__reporter *reporter);

/* The sequence number of the report that points and alerts given now will be in. */
uint64_t si__reporter_sequence(const si__reporter *reporter);

/* For the next report. Strings are copied. */
void si__reporter_point(si__reporter *reporter, const char *name, const char *unit, int64_t time_ms, double value);
void si__reporter_alert(si__reporter *reporter, const si__alert *alert);

/* Makes a report of everything since the last one. now_ms: Unix time. `done` (may be NULL) once it is in the spool, on
 * disk if there is one. */
void si__reporter_make(si__reporter *reporter, int64_t now_ms, void (*done)(void *arg), void *arg);

#endif
