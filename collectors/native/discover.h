/* What discovery tells the owner of the slots (thread.c). Runtime's thread or opener. */
#ifndef SI_NATIVE_DISCOVER_H
#define SI_NATIVE_DISCOVER_H

#include <stdint.h>

#include "region.h"

/* A thread without a slot. `sampled` 0: it blocks our signal, so it gets no timer and is counted as refused. */
void si__thread_found(si__region *region, int32_t tid, const char *name, int sampled);

/* A thread with a slot that is no longer there. */
void si__thread_gone(si__region *region, int32_t tid);

int si__thread_is_ignored(int32_t tid);

#endif
