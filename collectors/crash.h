/* Crashes: si_guard is public; this is what the preloaded probe asks for. */
#ifndef SI_CRASH_H
#define SI_CRASH_H

/*
 * Records every fatal crash of the process from now on: its stack goes to the ring, then the process dies as it would
 * have, or the host's own handler runs. A crash that the handler comes back from is taken back. Host thread at start.
 */
void si__crash_record_fatal(void);

/* The program ends in good order: a crash whose handler it left by siglongjmp was none. On the thread that had it. */
void si__crash_survived(void);

/* The host's actions are back: recording would make calls that the process is about to forbid itself, or ends. */
void si__crash_forget_fatal(void);

#endif
