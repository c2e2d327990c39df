/* A file that appears whole or not at all. Any thread; blocks. */
#ifndef SI_PROFILE_ATOMIC_FILE_H
#define SI_PROFILE_ATOMIC_FILE_H

#include <stdio.h>

/* Lets `write` fill a new file beside `path` and then gives it that name. Returns what write returned when that is not
   0, SI_ENOMEM, or SI_EIO with errno set; then the old file, if there was one, is untouched. */
int si__atomic_file(const char *path, int (*write)(void *arg, FILE *out), void *arg);

#endif
