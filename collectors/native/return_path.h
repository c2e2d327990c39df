/*
 * How wrappers of system calls return to the program.
 *
 * Where the kernel returns by "safe ret" (AMD, against speculative return stack overflow), the processor's memory of
 * return addresses is spoilt after every system call: each return is mispredicted until as many new calls were made,
 * and a wrapper adds one, which is half of what it costs. There, wrappers jump back: jumps have a predictor of their
 * own. Elsewhere they return, and so they do where a shadow stack checks returns.
 */
#ifndef SI_NATIVE_RETURN_PATH_H
#define SI_NATIVE_RETURN_PATH_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__CET__)
#define SI__RETURNS_BY_PATH __attribute__((function_return("thunk-extern")))
#else
#define SI__RETURNS_BY_PATH
#endif

/* Finds out which way is better here, once; a few system calls. Opener's thread. Keeps errno. */
void si__return_path_choose(void);

/* Takes one way from now on, for tests; 1: by a jump. Returns the way until now. */
int si__return_path_use(int jump);

#endif
