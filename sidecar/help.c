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
    "  rules check|list|explain|replay|route|send-test\n"
    "                                         check rule files, see what they do and would have done\n"
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
    "Usage: si rules SUBCOMMAND [OPTIONS]\n"
    "\n"
    "  check DIR             every .lua file of DIR together with the default rules: syntax, names, units, routes.\n"
    "                        Prints each problem as file:line: message. Exit code 0: none, 1: some\n"
    "  list                  the set in force and its hash; each rule with state, last error and cost. With\n"
    "                        --state: as the agent that is alive there says it\n"
    "  explain NAME          what a rule sees now: every number it asks for, and what follows\n"
    "  replay                when the rules would have fired over recorded history: a table and a picture\n"
    "  route NAME [L=V...]   where an alert would go; labels: rule, severity, subject, app, environment, host\n"
    "  send-test DEST        one test message to a destination, such as slack:perf\n"
    "\n"
    "      --rules DIR       rule files that replace or add to the default ones (default: SI_RULES_DIR)\n"
    "      --state DIR       where the program's agent keeps its state: recorded history and alerts\n"
    "                        (default: SI_STATE_DIR)\n"
    "      --history FILE    recorded history from a file, in place of the one in --state\n"
    "      --dashboard URL   replay, explain: what a dashboard has of an application, in place of --state; the "
    "average\n"
    "                        of its sources, or --source N for one of them\n"
    "      --key-file FILE   file with a reading key of that dashboard (default: SI_READING_KEY)\n"
    "      --last TIME       replay this much, such as 12h or 7d (default: 24h; at most 7d are kept)\n"
    "      --rule NAME       replay: show this rule alone\n"
    "      --at PLACE        the rules of the agent (default) or of the dashboard\n"
    "      --channels FILE   send-test: where destinations are (default: SI_CHANNELS_FILE)\n"
    "      --ca-file FILE    certificates to verify servers with\n"
    "      --app NAME, --env NAME, --host NAME\n"
    "                        labels of alerts; of a dashboard, whose history (default: the key's)\n"
    "  -h, --help            this text\n";

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
