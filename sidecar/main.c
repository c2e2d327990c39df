/* The `si` command: finds the subcommand and runs it. */
#include <si/si.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "help.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {{"run", si__command_run}, {"sidecar", si__command_sidecar}, {"rules", si__command_rules}};

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "si: no command given\nTry 'si --help'.\n");
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        si__help_print(argc > 2 ? argv[2] : "");
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("si %s\n", si_version());
        return 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "si: unknown command '%s'\nTry 'si --help'.\n", argv[1]);
    return 2;
}
