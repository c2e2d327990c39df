/* `si rules check DIR`. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../runtime/script/script.h"
#include "command.h"
#include "help.h"

static void print_line(void *arg, const char *line) {
    (void)arg;
    printf("%s\n", line);
}

int si__command_rules(int argc, char **argv) {
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        si__help_print("rules");
        return 0;
    }
    if (argc != 3 || strcmp(argv[1], "check") != 0) {
        fprintf(stderr, "Usage: si rules check DIR\n");
        return 2;
    }
    DIR *dir = opendir(argv[2]);
    if (!dir) {
        fprintf(stderr, "si rules check: %s: %s\n", argv[2], strerror(errno));
        return 2;
    }
    closedir(dir);
    int problems = si__script_check(argv[2], print_line, NULL);
    if (problems > 0)
        printf("%d problem%s\n", problems, problems == 1 ? "" : "s");
    else
        printf("no problems\n");
    return problems > 0 ? 1 : 0;
}
