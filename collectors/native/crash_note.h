/*
 * A crash on file: what an embedded runtime, which dies with its program, tells the next one about it.
 *
 * Written in the handler of the crashing thread with system calls alone; read by runtime/crash_notes.c. Text:
 * "si crash 1", then "signal N", "time NS" (CLOCK_REALTIME), "text ...", "pcs" and hexadecimal numbers, leaf first,
 * "flags N", "maps", a line each, and after that the process's maps file as it is.
 */
#ifndef SI_NATIVE_CRASH_NOTE_H
#define SI_NATIVE_CRASH_NOTE_H

#include <stddef.h>
#include <stdint.h>

#define SI__CRASH_NOTE_PREFIX "crash-"

/* Crashes are noted in `dir` from now on, under "crash-PID"; NULL or too long: nowhere. Host thread at open. */
void si__crash_note_in(const char *dir);

/* Writes the note; an earlier one of this process is replaced. Async-signal-safe. */
void si__crash_note_write(int signal, const char *text, size_t text_bytes, const uint64_t *pcs, unsigned count,
                          unsigned flags);

/* It was no crash after all. Async-signal-safe. */
void si__crash_note_take_back(void);

#endif
