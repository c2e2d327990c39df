/* The subcommands of `si`. Each gets argc and argv with argv[0] = its own name, and returns the exit code. */
#ifndef SI_SIDECAR_COMMAND_H
#define SI_SIDECAR_COMMAND_H

int si__command_run(int argc, char **argv);
int si__command_sidecar(int argc, char **argv);
int si__command_rules(int argc, char **argv);

#endif
