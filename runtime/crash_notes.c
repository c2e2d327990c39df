/* Crashes that earlier processes noted: see crash_notes.h. The files are our own, and still read as if they were not.
 */
#include "crash_notes.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../collectors/native/crash_note.h"
#include "../collectors/native/module.h"
#include "agent_parts.h"

enum { NOTES_MAX = 64 };

typedef struct crash {
    long signal;
    unsigned long flags;
    char text[256];
    uint64_t pcs[SI__FRAMES_MAX];
    unsigned count;
    const char *maps;
} crash;

/* The next line of *at, terminated in place; NULL: none. */
static char *next_line(char **at) {
    char *line = *at, *end = strchr(line, '\n');
    if (!end) return NULL;
    *end = '\0';
    *at = end + 1;
    return line;
}

static void read_pcs(const char *at, crash *out) {
    char *end;
    while (*at && out->count < SI__FRAMES_MAX) {
        uint64_t pc = strtoull(at, &end, 16);
        if (end == at) return;
        out->pcs[out->count++] = pc;
        at = end;
    }
}

static int parse(char *text, crash *out) {
    char *line = next_line(&text);
    memset(out, 0, sizeof *out);
    if (!line || strcmp(line, "si crash 1") != 0) return -1;
    while ((line = next_line(&text)) && strcmp(line, "maps") != 0) {
        if (strncmp(line, "signal ", 7) == 0) out->signal = strtol(line + 7, NULL, 10);
        if (strncmp(line, "flags ", 6) == 0) out->flags = strtoul(line + 6, NULL, 10);
        if (strncmp(line, "text ", 5) == 0) snprintf(out->text, sizeof out->text, "%s", line + 5);
        if (strncmp(line, "pcs", 3) == 0) read_pcs(line + 3, out);
    }
    out->maps = text;
    return line && out->count && out->signal > 0 && out->signal < 65 ? 0 : -1;
}

static int record(char *text, si__binaries *binaries, si__recorder *recorder) {
    crash c;
    si__module_list modules = {0};
    if (parse(text, &c) != 0) return 0;
    if (si__module_list_parse(c.maps, strlen(c.maps), &modules) != 0) return 0;
    si__space *space = si__space_new(binaries, &modules, "");
    si__module_list_free(&modules);
    if (!space) return 0;
    const si__drained_event event = {.type = SI__EVENT_CRASH,
                                     .thread_name = "",
                                     .value = c.signal,
                                     .count = 1,
                                     .flags = (unsigned)c.flags & (SI__STACK_TRUNCATED | SI__STACK_OFF),
                                     .frame_count = c.count,
                                     .pcs = c.pcs,
                                     .text = c.text,
                                     .text_bytes = (uint32_t)strlen(c.text)};
    si__recorder_event(recorder, NULL, space, &event);
    si__space_free(space);
    return 1;
}

/* A process that lives may be writing its own right now. */
static int is_done(const char *name) {
    char *end;
    long pid = strtol(name + sizeof SI__CRASH_NOTE_PREFIX - 1, &end, 10);
    return *end == '\0' && pid > 0 && (pid == getpid() || kill((pid_t)pid, 0) != 0);
}

size_t si__crash_notes_take(const char *state_dir, si__binaries *binaries, si__recorder *recorder) {
    DIR *dir = state_dir ? opendir(state_dir) : NULL;
    const struct dirent *entry;
    size_t taken = 0;
    for (int seen = 0; dir && seen < NOTES_MAX && (entry = readdir(dir));) {
        char path[4400], *text = NULL;
        size_t length;
        if (strncmp(entry->d_name, SI__CRASH_NOTE_PREFIX, sizeof SI__CRASH_NOTE_PREFIX - 1) != 0 ||
            !is_done(entry->d_name))
            continue;
        seen++;
        snprintf(path, sizeof path, "%s/%s", state_dir, entry->d_name);
        if (si__read_file(path, &text, &length) == 0) taken += (size_t)record(text, binaries, recorder);
        free(text);
        unlink(path);
    }
    if (dir) closedir(dir);
    return taken;
}
