/*
 * Folded stacks: one line a distinct stack of function names, `outer;...;leaf COUNT`, as flame graph tools read.
 *
 * Pure output from a call tree; any thread, blocking on the file.
 */
#ifndef SI_PROFILE_FOLDED_H
#define SI_PROFILE_FOLDED_H

#include <stdint.h>
#include <stdio.h>

#include "calltree.h"

/*
 * Writes the tree's self values divided by `divisor` (1000: nanoseconds as microseconds). What a division leaves over
 * is carried to the next line, so that the counts add up to the rounded total; lines of zero are left out. In names ';'
 * becomes ',', line breaks and control bytes become '?'. Stacks that differ in lines only are one line. 0, SI_EINVAL
 * (divisor < 1), SI_ENOMEM or SI_EIO.
 */
int si__folded_write(const si__calltree *tree, int64_t divisor, FILE *out);

/* The same into a file, made whole under a temporary name and then renamed. 0, SI_EINVAL, SI_ENOMEM or SI_EIO (errno is
 * set). */
int si__folded_save(const si__calltree *tree, int64_t divisor, const char *path);

#endif
