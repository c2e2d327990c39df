/*
 * `si rules check`: loads a directory as the runtime would, and tries every function once without data, so that a
 * misspelt method is found here and not at night. Called by the si command and by tests.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <si/si.h>

#include "engine.h"

int si__script_check(const char *dir, void (*print)(void *arg, const char *line), void *arg) {
    char error[SI__ERROR_BYTES], shown[SI__ERROR_BYTES + 128];
    si__source_list sources;
    int status = si__sources_read(&sources, dir, error, sizeof error);
    if (status) {
        print(arg, error);
        return 1;
    }
    si__ruleset *set = si__ruleset_new(&sources, 0);
    si__history *history = si__history_new();
    if (!set || !history) {
        print(arg, "out of memory");
        si__ruleset_free(set);
        si__history_free(history);
        return 1;
    }
    int problems = (int)set->error_count;
    for (size_t i = 0; i < set->problem_count; i++) print(arg, set->problems[i].text);
    for (size_t i = 0; i < set->rule_count; i++) { /* none is there when the set has errors */
        si__rule *rule = &set->rules[i];
        if (si__engine_probe(set, rule, history, error, sizeof error) == 0) continue;
        error[strcspn(error, "\n")] = '\0';
        si__ruleset_show_path(set, error, shown, sizeof shown);
        char line[sizeof shown + 128];
        snprintf(line, sizeof line, "%s (in rule \"%s\", %s:%d, tried without data)", shown, rule->name, rule->path,
                 rule->line);
        print(arg, line);
        problems++;
    }
    si__ruleset_free(set);
    si__history_free(history);
    return problems;
}
