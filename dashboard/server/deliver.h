/*
 * Delivery: hands the messages that the rule engine makes of the outbox (dispatch.h) to the sender, and notes what
 * became of them.
 *
 * Alerting thread only. A message counts as delivered when the receiver said so; after a restart everything else is
 * sent again.
 */
#ifndef SI_SERVER_DELIVER_H
#define SI_SERVER_DELIVER_H

#include "../../runtime/notify/notify.h"
#include "../../runtime/script/script.h"
#include "store.h"

typedef struct si__deliver_out si__deliver_out;

/* `router` and `reader` are borrowed. NULL: out of memory. */
si__deliver_out *si__deliver_out_new(si__store *store, si__reader *reader, si__script *router);
void si__deliver_out_free(si__deliver_out *out);
void si__deliver_out_tick(si__deliver_out *out, si__notify *notify, int64_t now_ms);
void si__deliver_out_event(void *out, const si__notify_event *event); /* the notifier's on_event */

#endif
