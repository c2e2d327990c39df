/* Crashes that earlier processes noted in the state directory: read once at start, recorded, and removed. */
#ifndef SI_CRASH_NOTES_H
#define SI_CRASH_NOTES_H

#include "profile/space.h"
#include "recorder.h"

/* Returns how many there were. Loop thread, before the worker has anything to do: reads files, and the build ids of the
   modules that they name. What is damaged is removed too. */
size_t si__crash_notes_take(const char *state_dir, si__binaries *binaries, si__recorder *recorder);

#endif
