/* Help texts. docs/man/ says the same at more length. */
#include "help.h"

#include <stdio.h>
#include <string.h>

static const char main_help[] =
    "Usage: si COMMAND [OPTIONS]\n"
    "\n"
    "Continuous profiling and monitoring for C, C++ and Lua programs.\n"
    "\n"
    "Commands:\n"
    "  run [OPTIONS] [--] PROGRAM [ARG...]    start an unmodified program and observe it\n"
    "  sidecar --pid N | --name X [OPTIONS]   observe the metrics of a running process\n"
    "  rules check DIR                        check rule files: syntax, names, units, routes\n"
    "\n"
    "  si COMMAND --help                      the options of a command\n"
    "  si --version                           the version\n";

static const char shared_help[] = "      --rules DIR        rule files that replace or add to the default ones\n"
                                  "      --dashboard URL    where reports go (default: SI_DASHBOARD_URL)\n"
                                  "      --key-file FILE    file with the agent key (default: SI_AGENT_KEY)\n"
                                  "      --ca-file FILE     certificates to verify the dashboard with\n"
                                  "      --app NAME         application name (default: the program's)\n"
                                  "      --app-version V    application version\n"
                                  "      --env NAME         environment (default: \"default\")\n"
                                  "      --state DIR        spool and baselines survive restarts here\n"
                                  "      --channels FILE    JSON: where notifications go\n"
                                  "      --debug            say more on standard error\n"
                                  "  -h, --help             this text\n";

static const char run_help[] =
    "Usage: si run [OPTIONS] [--] PROGRAM [ARG...]\n"
    "\n"
    "Starts PROGRAM observed: CPU, heap, lock, network, system and channel profiles of all its threads and child\n"
    "processes, calls of HTTP and database clients, crashes, process and host metrics.\n"
    "Its output, signals and exit code are its own.\n"
    "\n"
    "      --folded DIR       write DIR/cpu.folded, heap.folded, alloc.folded, lock.folded, network.folded,\n"
    "                         system.folded, channel.folded at the end (one line a stack; microseconds, or bytes),\n"
    "                         and errors.txt when something went wrong\n"
    "      --pprof DIR        write DIR/cpu.pb.gz and so on at the end: pprof, with lines and build ids; errors.txt\n"
    "      --hz N             CPU samples per second of CPU time and thread, for the whole run (1 to 1000)\n";

static const char sidecar_help[] =
    "Usage: si sidecar --pid N | --name X [OPTIONS]\n"
    "\n"
    "Observes a running process from outside: its metrics and the host's, under the same rules. Ends when it is told "
    "to\n"
    "(SIGTERM, SIGINT), or when the process given by --pid ends. With --name it waits for the next one.\n"
    "\n"
    "      --pid N            the process with this id\n"
    "      --name X           the processes whose program is named X\n";

static const char rules_help[] =
    "Usage: si rules check DIR\n"
    "\n"
    "Checks every .lua file of DIR together with the default rules. Prints each problem as file:line: message.\n"
    "Exit code 0: none, 1: some.\n";

void si__help_print(const char *subcommand) {
    if (strcmp(subcommand, "run") == 0)
        printf("%s%s", run_help, shared_help);
    else if (strcmp(subcommand, "sidecar") == 0)
        printf("%s%s", sidecar_help, shared_help);
    else if (strcmp(subcommand, "rules") == 0)
        printf("%s", rules_help);
    else
        printf("%s", main_help);
}
