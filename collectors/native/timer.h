/*
 * One kernel timer per observed thread, on that thread's own CPU clock: it ticks only while the thread runs.
 *
 * Created and deleted with the thread's slot. Raw system calls: usable in handlers and in a forked child.
 */
#ifndef SI_NATIVE_TIMER_H
#define SI_NATIVE_TIMER_H

#include "thread.h"

/* Creates the thread's timer and arms it at the rate now asked for. 0 or a negative errno. Any thread. */
int si__timer_start(si__thread *thread);

/* Deletes it, if it is there. Any thread; at most one caller wins. */
void si__timer_stop(si__thread *thread);

/* Takes over region->control when it changed since the thread's timer was armed. The thread's handler, or the runtime's
   thread; whoever comes second leaves it to the first. */
void si__timer_follow(si__region *region, si__thread *thread);

/* The timer of this, the only, thread of a process whose region is not made yet. System calls only. */
void si__timer_start_pending(void);

/*
 * Records the ticks that the kernel still owes a thread that ends: it looks at CPU timers only every few milliseconds,
 * so short-lived threads and processes would be undercounted. On the thread itself.
 */
void si__timer_settle(si__thread *thread);

/*
 * An exec keeps the thread's CPU clock but not its timer. When the clock has run for less than a period, the program
 * that follows counts from the clock's zero, as every process does at its start, so nothing is settled here: what fork
 * and exec cost is then in one sample out of many such processes. Else as si__timer_settle. On the thread itself.
 */
void si__timer_leave(si__thread *thread);

/* Rate until the runtime says another one, and whether timers that are off keep a slow tick. Before any timer starts.
 */
void si__timer_defaults(uint32_t cpu_mhz, int slow_tick);

#endif
