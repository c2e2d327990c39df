/*
 * What is reported against what is true, for programs whose truth is known: CPU, heap, waits, latencies, errors.
 *
 * `./dev bench accuracy [SCALE [RUNS]]`: SCALE (3) is how much each program does, RUNS (200) how often the one with the
 * known live heap is run. Every row says what is allowed; a row beyond it fails the benchmark. What is allowed is a
 * bound that chance passes too, about once in a hundred runs of all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "accuracy.h"

int main(int argc, char **argv) {
    char self[512], si[600], dir[] = "/tmp/si-accuracy-XXXXXX", command[64];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0) return 1;
    self[length] = '\0';
    if (argc == 4 && strcmp(argv[1], "--program") == 0) return accuracy_program(argv[2], atoi(argv[3]));
    accuracy a = {.si = si, .self = self, .dir = dir, .scale = 3, .runs = 200};
    if (argc > 1) a.scale = atoi(argv[1]);
    if (argc > 2) a.runs = atoi(argv[2]);
    snprintf(si, sizeof si, "%.*s/../bin/si", (int)(strrchr(self, '/') - self), self);
    if (a.scale < 1 || a.runs < 1 || access(si, X_OK) != 0 || !mkdtemp(dir)) {
        fprintf(stderr, "usage: %s [SCALE [RUNS]], with %s there\n", argv[0], si);
        return 2;
    }
    printf("\n| what | truth | estimate | error | allowed |\n| --- | --- | --- | --- | --- |\n");
    accuracy_cpu(&a);
    accuracy_waits(&a);
    accuracy_leak(&a);
    accuracy_live_rounds(&a);
    accuracy_requests(&a);
    accuracy_live_runs(&a);
    snprintf(command, sizeof command, "rm -rf -- %s", dir);
    if (system(command) != 0) fprintf(stderr, "%s is left\n", dir);
    printf("\n%d of %d within what is allowed\n", a.rows - a.failed, a.rows);
    return a.failed != 0;
}
