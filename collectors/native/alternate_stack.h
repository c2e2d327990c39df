/*
 * Alternate signal stacks for threads that have none: the handler of a crash needs one after a stack overflow.
 *
 * Memory is reserved, not used, until a handler runs on it. A host that sets one of its own replaces ours; a tiny one
 * is replaced by ours without its knowledge, because a tick may come while its handler runs there.
 */
#ifndef SI_NATIVE_ALTERNATE_STACK_H
#define SI_NATIVE_ALTERNATE_STACK_H

#include <signal.h>
#include <stdint.h>

/* Reserves room for every slot's. 0, or -1: no address space. Host thread at start. */
int si__alternate_stack_setup(void);

/* Gives this thread, whose slot is `index`, an alternate stack, unless it has one or nothing was set up. */
void si__alternate_stack_give(uint32_t index);

/* This thread ends: ours is taken away from it. */
void si__alternate_stack_take(void);

/*
 * sigaltstack as the host sees it: ours is not there. A host's stack too small for a tick on top of its own handlers is
 * kept for the answer only, and ours serves in its place. Declared in hook.h as every wrapper.
 */

#endif
