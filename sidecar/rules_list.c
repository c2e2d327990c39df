/*
 * `si rules list`: the set in force, with state, last error and cost of each rule. Of the agent that is alive in the
 * state directory, as it said within the last seconds; where there is none, of the rule files over what was recorded.
 * Called by rules_command.c, on the si command's only thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "../runtime/agent_parts.h"
#include "../runtime/report/json.h"
#include "../runtime/rules_state.h"
#include "../runtime/script/units.h"
#include "rules_input.h"

static void print_head(void) {
    printf("%-26s  %-12s  %-8s  %-9s  %-8s  %-9s  %5s  %9s  %s\n", "rule", "state", "severity", "at", "every", "hold",
           "asked", "cost each", "file");
}

static void print_rule(const si__rule_info *rule, int at_dashboard) {
    char every[40], hold[40], cost[40] = "-", state[48];
    int elsewhere = rule->at_dashboard != at_dashboard;
    if (rule->evaluations)
        snprintf(cost, sizeof cost, "%.1f us", (double)rule->cost_ns / 1e3 / (double)rule->evaluations);
    if (rule->alerts > 1)
        snprintf(state, sizeof state, "%s (%zu)", rule->state, rule->alerts);
    else
        snprintf(state, sizeof state, "%s", elsewhere && rule->enabled ? "elsewhere" : rule->state);
    printf("%-26s  %-12s  %-8s  %-9s  %-8s  %-9s  %5llu  %9s  %s:%d\n", rule->name, state,
           rule->raises_alerts ? rule->severity : "-", rule->at_dashboard ? "dashboard" : "agent",
           si__duration_format(rule->every_ms, every, sizeof every),
           si__duration_format(rule->hold_ms, hold, sizeof hold), (unsigned long long)rule->evaluations, cost,
           rule->file, rule->line);
    if (*rule->error) printf("    last error: %.*s\n", (int)strcspn(rule->error, "\n"), rule->error);
}

/* ---- Of a live agent --------------------------------------------------------------------------------------------- */

/* What the agent said last, if it is alive; NULL: there is none, *age_s says since when (-1: never, or it has ended).
 */
static si__json *ask_agent(const si__rules_input *in, long *age_s) {
    char path[4096], *text = NULL;
    struct stat st;
    size_t length;
    si__json *root = NULL;
    *age_s = -1;
    if (!in->options.state_dir || in->history || in->dashboard || in->at_dashboard) return NULL;
    snprintf(path, sizeof path, "%s/" SI__RULES_STATE_FILE, in->options.state_dir);
    if (stat(path, &st) != 0) return NULL;
    *age_s = (long)(time(NULL) - st.st_mtime);
    if (*age_s > SI__RULES_STATE_FRESH_S || *age_s < -SI__RULES_STATE_FRESH_S) return NULL;
    if (si__read_file(path, &text, &length) == 0) si__json_parse(text, length, &root, NULL, 0);
    free(text);
    return root;
}

static void print_told(const si__json *r) {
    const si__rule_info rule = {.name = si__json_get_string(r, "name", "?"),
                                .file = si__json_get_string(r, "file", "?"),
                                .severity = si__json_get_string(r, "severity", "?"),
                                .state = si__json_get_string(r, "state", "?"),
                                .error = si__json_get_string(r, "error", ""),
                                .line = (int)si__json_get_integer(r, "line", 0),
                                .enabled = si__json_get_bool(r, "enabled", 1),
                                .at_dashboard = si__json_get_bool(r, "at_dashboard", 0),
                                .raises_alerts = si__json_get_bool(r, "raises_alerts", 1),
                                .every_ms = si__json_get_integer(r, "every_ms", 0),
                                .hold_ms = si__json_get_integer(r, "hold_ms", 0),
                                .keep_ms = si__json_get_integer(r, "keep_ms", 0),
                                .evaluations = (uint64_t)si__json_get_integer(r, "evaluations", 0),
                                .cost_ns = (uint64_t)si__json_get_integer(r, "cost_ns", 0),
                                .alerts = (size_t)si__json_get_integer(r, "alerts", 0)};
    print_rule(&rule, 0);
}

static void print_deliveries(const si__json *list) {
    for (const si__json *d = list ? list->first : NULL; d; d = d->next) {
        const char *error = si__json_get_string(d, "error", "");
        long long paused_s = si__json_get_integer(d, "paused_until_ms", 0) / 1000 - (long long)time(NULL),
                  waiting = si__json_get_integer(d, "waiting", 0);
        if (!*error && paused_s <= 0 && !waiting) continue;
        const char *channel = si__json_get_string(d, "channel", "");
        printf("\n%s%s", *channel ? channel : "route", waiting ? "" : ":");
        if (waiting) printf(": %lld waiting;", waiting);
        if (*error) printf(" %s", error);
        if (*error && *channel) printf(" (tried %lld times)", (long long)si__json_get_integer(d, "attempts", 0));
        if (paused_s > 0) printf("%s its receiver asked to wait for %lld s more", *error ? ";" : "", paused_s);
        printf("\n");
    }
}

static int count(const si__json *list) {
    int n = 0;
    for (const si__json *item = list ? list->first : NULL; item; item = item->next) n++;
    return n;
}

static void print_live(const si__rules_input *in, const si__json *told, long age_s) {
    const char *dir = si__json_get_string(told, "rules_dir", ""), *error = si__json_get_string(told, "error", "");
    const si__json *rules = si__json_get(told, "rules");
    printf("set %s, %d rules, from %s\n", si__json_get_string(told, "hash", ""), count(rules),
           *dir ? dir : "the defaults");
    printf("in force now in process %lld (%s), as of %ld s ago, about %lld series\n",
           (long long)si__json_get_integer(told, "pid", 0), si__json_get_string(told, "app", ""), age_s < 0 ? 0 : age_s,
           (long long)si__json_get_integer(told, "series", 0));
    if (*error) printf("the files as they are now are not in force, the set before stays:\n%s\n", error);
    if (in->options.rules_dir && *dir && strcmp(in->options.rules_dir, dir) != 0)
        printf("(it reads %s, and not %s)\n", dir, in->options.rules_dir);
    printf("\n");
    print_head();
    for (const si__json *r = rules ? rules->first : NULL; r; r = r->next) print_told(r);
    print_deliveries(si__json_get(told, "deliveries"));
}

/* ---- Of the files ------------------------------------------------------------------------------------------------ */

static int list_files(si__rules_input *in, long age_s) {
    si__rule_info rule;
    int status = si__rules_history(in, 0);
    if (!status) status = si__rules_load(in);
    if (status) return status;
    si__script_tick(in->script, in->now_ms); /* once, about what was recorded last: states, errors and cost of now */
    size_t rules = 0;
    while (si__script_rule(in->script, rules, &rule) == 0) rules++;
    printf("set %s, %zu rules, from %s\n", si__script_hash(in->script), rules,
           in->options.rules_dir ? in->options.rules_dir : "the defaults");
    if (age_s >= 0)
        printf("the agent in %s was last heard of %ld s ago\n", in->options.state_dir, age_s);
    else if (in->options.state_dir && !in->history)
        printf("no agent is alive in %s\n", in->options.state_dir);
    if (si__history_count(in->recorded))
        printf("each evaluated once about %zu recorded series\n\n", si__history_count(in->recorded));
    else
        printf("nothing is recorded: --state DIR tells how they are about a program\n\n");
    print_head();
    for (size_t i = 0; si__script_rule(in->script, i, &rule) == 0; i++) print_rule(&rule, in->at_dashboard);
    return 0;
}

int si__rules_list(si__rules_input *in) {
    long age_s;
    si__json *told = ask_agent(in, &age_s);
    if (!told) return list_files(in, age_s);
    print_live(in, told, age_s);
    si__json_free(told);
    return 0;
}
