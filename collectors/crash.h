/* Crashes: si_guard is public; this is what the preloaded probe asks for. */
#ifndef SI_CRASH_H
#define SI_CRASH_H

/*
 * Records every fatal crash of the process from now on: its stack goes to the ring, then the process dies as it would
 * have. Only signals whose action is the default are taken; an action that the host sets later simply replaces ours.
 * Host thread at start.
 */
void si__crash_record_fatal(void);

/* The default actions are back: recording would make calls that the process is about to forbid itself. */
void si__crash_forget_fatal(void);

#endif
