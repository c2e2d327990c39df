/*
 * Programs of accuracy_program.c under `si run --folded`, and what the files say of them: see accuracy.h.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "accuracy.h"

enum { TRUTHS = 16 };

typedef struct truth {
    char type[16], function[64], call[64];
    double value, sigma;
} truth;

void accuracy_row(accuracy *a, const char *what, const char *unit, double value, double estimate, double allowed) {
    double error = estimate - value;
    int fails = !(fabs(error) <= allowed);
    char share[32] = "", most[32] = "";
    if (value > 0) {
        snprintf(share, sizeof share, " (%+.2f %%)", error / value * 100);
        snprintf(most, sizeof most, " (%.2f %%)", allowed / value * 100);
    }
    printf("| %s | %.6g %s | %.6g | %+.4g%s | %.4g%s |%s\n", what, value, unit, estimate, error, share, allowed, most,
           fails ? " **missed** |" : "");
    fflush(stdout);
    a->rows++;
    a->failed += fails;
}

/* Runs the program under `si run`; returns how many truths it told, or -1. */
static int observe(const accuracy *a, const char *program, truth *out) {
    char command[1024], line[512];
    int count = 0;
    snprintf(command, sizeof command, "rm -rf '%s/out' && '%s' run --folded '%s/out' -- '%s' --program %s %d", a->dir,
             a->si, a->dir, a->self, program, a->scale);
    FILE *pipe = popen(command, "r");
    if (!pipe) return -1;
    while (fgets(line, sizeof line, pipe)) {
        truth *t = &out[count < TRUTHS ? count : TRUTHS - 1];
        if (sscanf(line, "%15s %63s %63s %lf %lf", t->type, t->function, t->call, &t->value, &t->sigma) == 5) count++;
    }
    int status = pclose(pipe);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || count == 0 || count > TRUTHS) {
        printf("INVALID: `%s` ended with status %d and told %d truths\n", command, status, count);
        return -1;
    }
    return count;
}

/* Whether `name` is a frame of the stack, and in `last` whether it is its last one. */
static int has_frame(const char *stack, const char *name, int *last) {
    size_t length = strlen(name);
    for (const char *at = stack; (at = strstr(at, name)) != NULL; at += length) {
        char before = at == stack ? ';' : at[-1], after = at[length];
        /* A program that is stripped of nothing may still show its clone: "name.part.0". */
        if (before != ';' || (after != ';' && after != '\0' && after != '.')) continue;
        *last = after == '\0';
        return 1;
    }
    return 0;
}

/* What a file says of a function and what it calls; NAN: there is no such file. */
static double told_by_file(const accuracy *a, const truth *t) {
    static char line[1 << 16];
    char path[512];
    double sum = 0;
    int last;
    snprintf(path, sizeof path, "%s/out/%s.folded", a->dir, t->type);
    FILE *file = fopen(path, "r");
    if (!file) return NAN;
    while (fgets(line, sizeof line, file)) {
        char *space = strrchr(line, ' ');
        if (!space) continue;
        *space = '\0';
        if (!has_frame(line, t->function, &last)) continue;
        if (strcmp(t->call, "-") != 0 && (!has_frame(line, t->call, &last) || !last)) continue;
        sum += atof(space + 1);
    }
    fclose(file);
    return sum;
}

static void missed(accuracy *a) {
    a->rows++;
    a->failed++;
}

/* `si run` takes 100 samples a second of CPU: with n of them, a time is known to 1/sqrt(n), and the shares of what
   takes turns on one thread are. */
void accuracy_cpu(accuracy *a) {
    truth truths[TRUTHS];
    int count = observe(a, "cpu", truths);
    if (count < 0) return missed(a);
    double main_us = 0, told_us = 0;
    for (int i = 0; i < count; i++) {
        if (strcmp(truths[i].call, "share") != 0) continue;
        strcpy(truths[i].call, "-");
        truths[i].sigma = -1;
        main_us += truths[i].value;
        told_us += told_by_file(a, &truths[i]);
    }
    for (int i = 0; i < count; i++) {
        char what[128];
        double told = told_by_file(a, &truths[i]), value = truths[i].value;
        if (truths[i].sigma < 0) {
            snprintf(what, sizeof what, "share of the main thread's CPU, %.63s", truths[i].function);
            accuracy_row(a, what, "", value / main_us, told / told_us, 1 / sqrt(main_us / 10000));
            continue;
        }
        snprintf(what, sizeof what, "CPU of %.63s", truths[i].function);
        accuracy_row(a, what, "us", value, told, value / sqrt(value / 10000));
    }
    accuracy_row(a, "CPU of the main thread", "us", main_us, told_us, main_us / sqrt(main_us / 10000));
}

/* 2 %, and three standard deviations where so few or so short waits cannot be known to 2 %. */
void accuracy_waits(accuracy *a) {
    truth truths[TRUTHS];
    int count = observe(a, "waits", truths);
    if (count < 0) return missed(a);
    for (int i = 0; i < count; i++) {
        const truth *t = &truths[i];
        char what[192];
        snprintf(what, sizeof what, "%.15s: %.63s in %.63s", t->type, t->call, t->function);
        double allowed = fmax(0.02 * t->value, 3 * t->sigma);
        accuracy_row(a, what, "us", t->value, told_by_file(a, t), allowed);
    }
}

void accuracy_leak(accuracy *a) {
    truth truths[TRUTHS];
    int count = observe(a, "leak", truths);
    if (count < 0) return missed(a);
    for (int i = 0; i < count; i++) {
        const truth *t = &truths[i];
        char what[128];
        snprintf(what, sizeof what, "live heap of %.63s", t->function);
        accuracy_row(a, what, "bytes", t->value, told_by_file(a, t), 3 * t->sigma);
    }
}

/* Processes of their own, each with its own samples. The rows come from the spread that is known, not from one that is
   measured: a sampler that is always right, or always wrong in the same way, shows. */
void accuracy_live_runs(accuracy *a) {
    double error = 0, variance = 0, value = 0, squares = 0;
    int within = 0;
    for (int run = 0; run < a->runs; run++) {
        truth t[TRUTHS];
        if (observe(a, "live", t) != 1) return missed(a);
        double off = told_by_file(a, t) - t->value;
        within += fabs(off) <= 2 * t->sigma;
        error += off;
        variance += t->sigma * t->sigma;
        squares += off * off;
        value = t->value;
    }
    char what[128];
    snprintf(what, sizeof what, "live heap, mean of %d runs (3 standard errors)", a->runs);
    accuracy_row(a, what, "bytes", value, value + error / a->runs, 3 * sqrt(variance) / a->runs);
    snprintf(what, sizeof what, "live heap, spread of %d runs over the one due", a->runs);
    accuracy_row(a, what, "times", 1, sqrt(squares / variance), 3 / sqrt(2.0 * a->runs));
    snprintf(what, sizeof what, "live heap, runs within 2 sigma, of %d", a->runs);
    double due = 0.9545 * a->runs;
    accuracy_row(a, what, "runs", due, within, 3 * sqrt(due * 0.0455) + 1);
}
