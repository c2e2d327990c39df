/*
 * What the subcommands of `si rules` are given: options, recorded history, a rule set. Used by rules_*.c; one thread.
 */
#ifndef SI_SIDECAR_RULES_INPUT_H
#define SI_SIDECAR_RULES_INPUT_H

#include <si/si.h>

#include "../runtime/script/script.h"

typedef struct si__rules_input {
    si_options options;    /* rules_dir, state_dir, channels_file, names: from the environment, then the options */
    const char *history;   /* a file in place of state_dir's; NULL: none given */
    const char *dashboard; /* its URL, to be asked for history in place of a file; NULL: none */
    const char *key_file;  /* then: file with a reading key; NULL: SI_READING_KEY */
    const char *source;    /* then: of this source alone; NULL: of all */
    int64_t last_ms;       /* --last; 0: not given */
    int at_dashboard;      /* --at dashboard */
    const char *only_rule; /* --rule; NULL: all */
    const char *words[16]; /* what is not an option */
    size_t word_count;
    si__history *recorded; /* owned; NULL before si__rules_history */
    si__script *script;    /* owned; NULL before si__rules_load */
    int64_t now_ms;        /* Unix: of the newest point that was recorded; with none, the clock's */
} si__rules_input;

/* Reads options and words after the subcommand's name. 0, or an exit code when there was a mistake, told already. */
int si__rules_input_read(si__rules_input *in, int argc, char **argv);
void si__rules_input_free(si__rules_input *in);

/* Reads the recorded history into in->recorded, and in->now_ms. required: a missing one is a mistake. 0 or an exit
 * code. */
int si__rules_history(si__rules_input *in, int required);

/* Loads rules over in->recorded into in->script, with the alert states of the state directory; nothing is evaluated,
   and nobody is told of anything. 0 or an exit code. */
int si__rules_load(si__rules_input *in);

/* rules_dashboard.c: the same history from in->dashboard, into in->recorded, for what the loaded rules ask. 0 or an
   exit code. */
int si__rules_ask_dashboard(si__rules_input *in);

int si__rules_list(si__rules_input *in);      /* rules_list.c; exit code */
int si__rules_replay(si__rules_input *in);    /* rules_replay.c; exit code */
int si__rules_send_test(si__rules_input *in); /* rules_send.c; exit code */

#endif
