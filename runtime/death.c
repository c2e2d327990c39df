/* The end of an observed program: see death.h. */
#include "death.h"

#include <errno.h>
#include <inttypes.h>
#include <si/si.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "callsites.h"
#include "profile/atomic_file.h"
#include "profile/resolve.h"

enum { LAST_MS = 60000, STACKS_SHOWN = 3, FRAMES_SHOWN = 64, SITES_SHOWN = 5, GROUP_BYTES = 64 };

static const char *signal_name(int number, char *out, size_t out_bytes) {
    const char *abbreviation = number > 0 && number < NSIG ? sigabbrev_np(number) : NULL;
    if (abbreviation)
        snprintf(out, out_bytes, "SIG%s", abbreviation);
    else
        snprintf(out, out_bytes, "signal %d", number);
    return out;
}

void si__death_describe(const si__death *d, char *out, size_t out_bytes) {
    char name[32];
    double seconds = (double)d->ran_ms / 1000;
    if (WIFSIGNALED(d->wait_status))
        snprintf(out, out_bytes, "killed by %s (signal %d)%s, after %.1f s",
                 signal_name(WTERMSIG(d->wait_status), name, sizeof name), WTERMSIG(d->wait_status),
                 WCOREDUMP(d->wait_status) ? ", core dumped" : "", seconds);
    else
        snprintf(out, out_bytes, "exited with code %d after %.1f s", WEXITSTATUS(d->wait_status), seconds);
}

int si__death_is_failure(const si__death *d) {
    return d->wait_status != 0;
}

void si__death_record(si__recorder *recorder, const si__death *d) {
    char group[GROUP_BYTES], name[32], message[192];
    if (!si__death_is_failure(d)) return;
    if (WIFSIGNALED(d->wait_status))
        snprintf(group, sizeof group, "crash: %s", signal_name(WTERMSIG(d->wait_status), name, sizeof name));
    else
        snprintf(group, sizeof group, "exit: code %d", WEXITSTATUS(d->wait_status));
    si__death_describe(d, message, sizeof message);
    int by_signal = WIFSIGNALED(d->wait_status);
    if (by_signal && si__recorder_has_stack(recorder))
        strncat(message, "; the stack is the last one sampled", sizeof message - strlen(message) - 1);
    if (!by_signal || (si__recorder_crash(recorder) != WTERMSIG(d->wait_status) &&
                       !si__recorder_uphold(recorder, WTERMSIG(d->wait_status))))
        si__recorder_error(recorder, group, message, by_signal);
    if (!by_signal) return;
    for (int type = 0; type < SI__PROFILE_TYPES; type++) {
        si__rawprofile *recent = si__recorder_recent(recorder, (si__profile_type)type, LAST_MS);
        if (!recent) continue;
        si__rawprofile_free(recent);
        si__recorder_focus(recorder, (si__profile_type)type, "crash", "", LAST_MS);
        si__recorder_focus_end(recorder, (si__profile_type)type);
    }
}

/* ---- The file ---- */

typedef struct writing {
    const si__recorder *recorder;
    const si__death *death;
    si__symbolizer *symbolizer;
    FILE *out;
    int failed;
} writing;

static void write_stack(const si__calltree *tree, uint32_t node, FILE *out) {
    int shown = 0;
    for (uint32_t at = node; at; at = si__calltree_node_at(tree, at)->parent) {
        const si__frame *f = si__calltree_frame_at(tree, si__calltree_node_at(tree, at)->frame);
        if (shown++ == FRAMES_SHOWN) {
            fputs("      ...\n", out);
            return;
        }
        fprintf(out, "      %s", f->function);
        if (f->file[0]) fprintf(out, "  %s:%" PRIu32, f->file, f->line);
        if (f->module[0]) fprintf(out, "  (%s)", f->module);
        fputc('\n', out);
    }
}

/* The stacks with the highest counts, a few. */
static void write_stacks(const si__calltree *tree, FILE *out) {
    uint64_t below = UINT64_MAX, total = si__calltree_total_count(tree);
    uint32_t last = 0;
    for (int shown = 0; shown < STACKS_SHOWN; shown++) {
        uint32_t best = 0;
        uint64_t most = 0;
        for (uint32_t i = 1; i < si__calltree_node_count(tree); i++) {
            uint64_t count = si__calltree_node_at(tree, i)->self_count;
            int later = count < below || (count == below && i > last);
            if (later && count > most) {
                most = count;
                best = i;
            }
        }
        if (!best) return;
        fprintf(out, "    stack, %" PRIu64 " of %" PRIu64 ":\n", most, total);
        write_stack(tree, best, out);
        below = most;
        last = best;
    }
}

/* What a program says of its errors is its own: further lines are indented, so that they are not taken for ours. */
static void write_message(FILE *out, const char *message) {
    for (const char *p = message; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '\n')
            fputs("\n      ", out);
        else
            putc((c < 0x20 && c != '\t') || c == 0x7f ? '?' : c, out);
    }
    putc('\n', out);
}

static void write_error(void *arg, const char *group, const char *message, uint64_t count,
                        const si__rawprofile *stacks) {
    writing *w = arg;
    fprintf(w->out, "\n%s\n    %" PRIu64 " time%s%s", group, count, count == 1 ? "" : "s", *message ? ": " : "");
    write_message(w->out, message);
    si__calltree *tree = stacks ? si__resolve(stacks, w->symbolizer) : NULL;
    if (stacks && !tree) w->failed = 1;
    if (!tree) return;
    write_stacks(tree, w->out);
    si__calltree_free(tree);
}

static void write_recent(writing *w, si__profile_type type) {
    const si__profile_kind *kind = si__profile_kind_of(type);
    si__rawprofile *recent = si__recorder_recent(w->recorder, type, LAST_MS);
    si__calltree *tree = recent ? si__resolve(recent, w->symbolizer) : NULL;
    si__callsite sites[SITES_SHOWN];
    if (tree) {
        double total = (double)si__calltree_total_value(tree);
        int is_time = strcmp(kind->unit, "ns") == 0;
        fprintf(w->out, "\nlast minute, %s: %.3f %s\n", kind->title, is_time ? total / 1e9 : total / 1048576,
                is_time ? "s" : "MiB");
        size_t count = si__callsites_top(tree, SI__CALLSITE_INCLUSIVE, sites, SITES_SHOWN);
        for (size_t i = 0; i < count; i++)
            fprintf(w->out, "    %5.1f %%  %s\n", 100 * (double)sites[i].total / total, sites[i].name);
        si__calltree_free(tree);
    }
    if (recent) si__rawprofile_free(recent);
}

static int write_file(void *arg, FILE *out) {
    writing *w = arg;
    char line[128];
    w->out = out;
    si__death_describe(w->death, line, sizeof line);
    fprintf(out, "program: %s\n", line);
    si__recorder_whole_errors(w->recorder, write_error, w);
    if (si__death_is_failure(w->death))
        for (int type = 0; type < SI__PROFILE_TYPES; type++) write_recent(w, (si__profile_type)type);
    if (w->failed) return SI_ENOMEM;
    return fflush(out) != 0 || ferror(out) ? SI_EIO : 0;
}

static void count_error(void *arg, const char *group, const char *message, uint64_t count,
                        const si__rawprofile *stacks) {
    (void)group;
    (void)message;
    (void)stacks;
    *(uint64_t *)arg += count;
}

int si__death_save(const si__recorder *recorder, const si__death *d, si__symbolizer *symbolizer, const char *path) {
    uint64_t errors = 0;
    si__recorder_whole_errors(recorder, count_error, &errors);
    if (errors == 0 && !si__death_is_failure(d)) return unlink(path) == 0 || errno == ENOENT ? 0 : SI_EIO;
    writing w = {.recorder = recorder, .death = d, .symbolizer = symbolizer};
    return si__atomic_file(path, write_file, &w);
}
