/*
 * The end of an observed program: what it died of, its errors with their stacks, and its last minute. Told to reports
 * and written to a file. Loop thread; the file blocks.
 */
#ifndef SI_DEATH_H
#define SI_DEATH_H

#include <stddef.h>
#include <stdint.h>

#include "recorder.h"
#include "symbol/symbolizer.h"

typedef struct si__death {
    int wait_status; /* as from waitpid */
    int64_t ran_ms;
} si__death;

/* "killed by SIGSEGV (signal 11), core dumped, after 3.2 s" or "exited with code 3 after 3.2 s". */
void si__death_describe(const si__death *death, char *out, size_t out_bytes);

/* Whether a signal or an exit code other than 0 ended it. */
int si__death_is_failure(const si__death *death);

/* Records it: as an error unless the crash itself is on record, and the last minute as profiles of their own. */
void si__death_record(si__recorder *recorder, const si__death *death);

/* Writes the errors of the whole run, the death and the last minute to `path` as text, whole or not at all. A run
   without any error or failure leaves no file, and removes an older one. 0, SI_ENOMEM or SI_EIO (errno is set). */
int si__death_save(const si__recorder *recorder, const si__death *death, si__symbolizer *symbolizer, const char *path);

#endif
