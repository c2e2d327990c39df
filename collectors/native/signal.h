/*
 * The one signal that our timers raise, and how a host program keeps from seeing it.
 *
 * A free real-time signal is taken for the process. The host may still do with that number whatever it likes: its
 * action, its mask and its waits are kept beside ours and answered from there, so a program that sets every signal to
 * SIG_DFL, blocks them all or waits for them all neither dies of a tick nor loses one.
 */
#ifndef SI_NATIVE_SIGNAL_H
#define SI_NATIVE_SIGNAL_H

#include <signal.h>
#include <stddef.h>

typedef void (*si__signal_handler)(int signal, siginfo_t *info, void *ucontext);

/* Chooses the signal (once per process) and installs `handler`. The number, or a negative SI_E* with a reason. It stays
   installed until the process ends: a pending signal must never meet SIG_DFL. */
int si__signal_install(si__signal_handler handler, char *reason, size_t reason_bytes);

/* The number, or 0: none chosen yet. */
int si__signal_number(void);

/* A signal that is not from our timers: does what the host's own action and mask ask for. In the handler. */
void si__signal_pass_on(int signal, siginfo_t *info, void *ucontext);

/* Whether a siginfo is one of our ticks. Async-signal-safe. */
int si__signal_is_tick(const siginfo_t *info);

/* Blocks or unblocks our signal really, on this thread. Returns whether it was blocked. */
int si__signal_block(int block);

/*
 * Puts `handler` in front of whatever action the host has for `signal` now or sets later (crash recording). The host
 * goes on seeing its own. `handler` does what it came for and then asks si__signal_behind what the host wants; it runs
 * with the host's mask and flags (for the default action: on the alternate stack). SIG_IGN is left alone. 0 or -1.
 */
int si__signal_front(int signal, si__signal_handler handler);

/*
 * Whether the host believes that this thread blocks the fronted fault: a fault then ends the process as if no handler
 * of the host's were there. One that was merely sent stays pending: it is queued again, and nothing else is to be done
 * (1: so it was). In the handler.
 */
int si__signal_is_blocked(int signal);
int si__signal_keep_pending(int signal, siginfo_t *info, void *ucontext);

/* Undoes it: the host's action is back. */
void si__signal_unfront(int signal);

/* The host's action behind a fronted signal. In the handler. */
void si__signal_behind(int signal, struct sigaction *out);

/* Ends the process by `signal`, as if no handler had been there. */
void si__signal_die(int signal);

/* A tick that a host's sigwait took off the queue: accounted by the sampler. */
extern void (*si__signal_stray_tick)(const siginfo_t *info);

#endif
