/* Slows down guessing: counts failures per account and per address, and says how long to wait. In memory; any thread.
 */
#ifndef SI_SERVER_THROTTLE_H
#define SI_SERVER_THROTTLE_H

#include <stdint.h>

typedef struct si__throttle si__throttle;

si__throttle *si__throttle_new(void);
void si__throttle_free(si__throttle *throttle);
/* Seconds that `who` ("user:..." or "address:...") must still wait; 0: go ahead. */
int si__throttle_wait_s(si__throttle *throttle, const char *who, int64_t now_ms);
/* A failure: after `free_tries` of them, the wait doubles from 1 s to 15 min. Forgotten after an hour without one. */
void si__throttle_failed(si__throttle *throttle, const char *who, int free_tries, int64_t now_ms);
void si__throttle_forget(si__throttle *throttle, const char *who);

#endif
