/*
 * The engine's state: what script.c, engine.c, instance.c, routing.c, cadence.c, segments.c and state.c share.
 *
 * Alerts live here in C and not in Lua, so that they survive a reload and a rule file cannot lose them. Loop thread
 * only.
 */
#ifndef SI_SCRIPT_ENGINE_H
#define SI_SCRIPT_ENGINE_H

#include "handle.h"
#include "ruleset.h"
#include "script.h"

#define SI__INSTANCES 500     /* alerts that are not inactive, at most */
#define SI__ERRORS_IN_ROW 100 /* then a rule is disabled */
#define SI__HEAVY_ERRORS 3    /* the same for running out of time or memory, within an hour */
#define SI__HEAVY_WINDOW_MS (3600 * (int64_t)1000)
#define SI__FLAP_FIRES 4 /* within an hour: flapping */
#define SI__RESOLVED_KEPT_MS (15 * 60 * (int64_t)1000)
#define SI__RESOLVED_OWED_MS (86400 * (int64_t)1000) /* when people are yet to be told */

/* One alert: a rule about a subject, from pending until a while after it is resolved. */
typedef struct si__instance {
    si__alert alert;
    uint64_t key;           /* first half of the fingerprint, as a number */
    int64_t clear_since_ms; /* firing, but clear since then; 0: not clear */
    int64_t changed_ms;     /* last change between firing and resolved */
    int64_t fires_ms[SI__FLAP_FIRES];
    unsigned fire_count;
    int flapping;
    int external;             /* somebody else's: external.c. No rule of ours moves it on */
    int bare;                 /* external, from a saved state: its texts come when it is heard of again */
    int64_t outside_fired_ms; /* external: when it fired by the clock of whoever said so */
    char *silenced;           /* who silenced it and why; NULL: nobody */
    int acked;
    int told;                   /* people were told that it fires */
    int64_t told_ms;            /* when last */
    uint64_t escalated;         /* a bit per escalation that was sent */
    uint64_t round;             /* evaluation round in which it was looked at */
    struct si__instance *chain; /* of its bucket */
} si__instance;

#define SI__INSTANCE_BUCKETS 1024 /* a power of two */

typedef struct si__member {
    si__instance *instance;
    int dirty; /* changed since it was last sent */
} si__member;

typedef struct si__group { /* alerts that travel in one message */
    const si__route *route;
    uint64_t key;
    si__member *members;
    size_t count;
    int64_t dirty_ms; /* first change that was not sent; 0: none */
    int64_t sent_ms;  /* 0: never */
} si__group;

typedef struct si__segment_cache si__segment_cache;

struct si__script {
    si__script_env env; /* its strings are ours */
    si__ruleset *set;
    int64_t started_ms, now_ms; /* of ticks; started 0: no tick yet */
    uint64_t round, visits;
    si__instance **instances;
    si__instance *buckets[SI__INSTANCE_BUCKETS]; /* by key */
    size_t instance_count;
    int instances_full; /* said in the log */
    int64_t print_since_ms;
    unsigned printed; /* lines since then */
    si__group *groups;
    size_t group_count;
    int route_only;                    /* rules are not evaluated */
    struct si__held_silence *silences; /* silence.c */
    size_t silence_count;
    void (*on_notify)(void *arg, const char *destination, const si__alert *alerts, size_t count);
    void *notify_arg;
    const si__instance **causes; /* of inhibits, for this tick: what fires and matches the source of each */
    size_t *cause_ends;          /* where in causes those of each inhibit end */
    si__cadence cadence;
    int cadence_known;
    int64_t cadence_next_ms;
    si__segment_cache *segments;
    double below_ms[8]; /* good calls of every segment are counted below these, too */
    size_t below_count;
};

void si__script_log(si__script *script, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* script.c: as si__script_load, with these texts (taken over). partial: a set of a few files; routes may name unknown
 * rules. */
int si__script_load_sources(si__script *script, si__source_list *sources, int partial, char *error, size_t error_bytes);

/* engine.c */
void si__engine_tick(si__script *script);
/* Dry run: calls every function of a rule with a series that has no data. 0, or a status with the error. */
int si__engine_probe(si__ruleset *set, si__rule *rule, si__history *history, char *error, size_t error_bytes);

/* Asks one condition, without consequences. 0 and *truth, or a Lua status with the error. */
int si__engine_ask(si__ruleset *set, const si__rule *rule, int ref, const si__handle *about, int *truth, char *error,
                   size_t error_bytes);
si__handle si__engine_handle(const si__script *script, const si__rule *rule, const si__subject *subject);
void si__rule_disable(si__script *script, si__rule *rule, const char *why);

/* memory.c: a call into the unit ended for want of memory; whoever holds too much gives it back. Outside of
   calls only. */
void si__memory_used_up(si__script *script, si__unit *unit);
int si__memory_is_short(const si__unit *unit); /* the last call was refused memory, or left little for the next */

/* subjects.c. Borrowed until the next call for the rule, or until the history changes. NULL: out of memory. */
const si__subjects *si__subjects_of(si__script *script, si__rule *rule);
si__series *si__subject_series(si__script *script, const si__rule *rule, const char *name); /* NULL: none */

/* instance.c: the state machine of one alert */
si__instance *si__instance_find(si__script *script, const si__rule *rule, const char *subject); /* NULL: inactive */
uint64_t si__instance_key(const si__script *script, const si__rule *rule, const char *subject);
si__instance *si__instance_of(si__script *script, const si__rule *rule, const si__subject *subject); /* by its key */
si__instance *si__instance_add(si__script *script, const si__rule *rule,
                               const char *subject);                 /* pending; NULL: too many */
void si__instance_index(si__script *script, si__instance *instance); /* its key is known now */
void si__instance_remove(si__script *script, si__instance *instance);
void si__instance_fire(si__script *script, si__instance *instance);
void si__instance_resolve(si__script *script, si__instance *instance);
void si__instance_cancel(si__script *script, si__instance *instance); /* pending -> inactive; frees it */
void si__instances_tick(si__script *script);   /* ends flapping, forgets what was resolved long ago */
void si__instances_reload(si__script *script); /* a new set is in force: drop what it no longer has */
void si__instance_fingerprint(const si__script *script, const char *rule, const char *subject, char hex[33],
                              uint64_t *key);
int si__text_set(char **field, const char *text, size_t max_bytes); /* replaces; cut at a character. 0 or SI_ENOMEM */

/* external.c */
#define SI__EXTERNALS 2000 /* alerts from outside, at most */
int si__external_restore(si__script *script, const char *fingerprint, si__instance **out); /* 0 or SI_E* */

/* silence.c */
int si__glob_matches(const char *glob, const char *text); /* * stands for any text */
void si__silences_tick(si__script *script);               /* notices which alerts are silenced, and no longer */
void si__silences_free(si__script *script);

/* routing.c */
void si__routing_restore(si__script *script, si__instance *instance); /* into its groups, as it was before a restart */
int si__routing_listens(const si__script *script, const si__alert *alert); /* a route takes it to somebody */
void si__routing_changed(si__script *script, si__instance *instance);
void si__routing_forget(si__script *script, si__instance *instance);
int si__routing_owes(const si__script *script, const si__instance *instance); /* a message about it is yet to be sent */
void si__routing_tick(si__script *script);
void si__routing_rebuild(si__script *script); /* after a reload or a restart: groups from instances */
void si__routing_clear(si__script *script);

/* cadence.c */
void si__cadence_tick(si__script *script);
/* segments.c */
/* The segment rule that gave a segment its name, or that matches it as it is; NULL: none. */
const si__segment_rule *si__segments_rule_of(const si__script *script, const char *name);
void si__segments_reset(si__script *script);
void si__segments_free(si__script *script);

#endif
