/*
 * What an interpreter inside the host (lua_vm.c) does with samples of its threads: puts the frames of the language
 * between those of C, at once or a moment later.
 */
#ifndef SI_NATIVE_INTERPRETER_H
#define SI_NATIVE_INTERPRETER_H

#include <stdint.h>

#include "region.h"
#include "unwind.h"

/* A sample of the calling thread, complete but not committed. */
typedef struct si__interpreted {
    si__region *region;
    si__slot *slot;
    si__event *event; /* all of it is there, but for the text; its room is SI__FRAMES_MAX frames and text_bytes */
    si__event_type type;
    const si__regs *regs; /* where the walk began */
    uint64_t stack_hi;    /* where its stack ends; 0: not known */
    const void *text;
    uint32_t text_bytes;
    int in_signal; /* 1: the thread was interrupted anywhere; 0: it called us */
} si__interpreted;

/*
 * NULL: no interpreter is known on this thread: one load for every sample. Else it is called before a sample is
 * committed. 1: the sample was taken over and will be written later: si__ring_cancel gives its room back. 0: it goes
 * out now, its frames may have changed. With NULL: writes what was taken over, as far as it is known; the thread ends.
 * Async-signal-safe.
 */
extern __thread int (*si__interpreter_take)(const si__interpreted *sample) __attribute__((tls_model("initial-exec")));

#endif
