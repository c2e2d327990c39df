/*
 * Delivery of notifications by the agent: at once when there is no dashboard, and otherwise only once the dashboard has
 * been out of reach for two minutes, because it delivers what reports tell it. Until then a notification is held. Loop
 * thread only.
 */
#ifndef SI_DELIVER_H
#define SI_DELIVER_H

#include <stddef.h>
#include <stdint.h>

#include "notify/notify.h"
#include "report/upload.h"
#include "settings.h"

typedef struct si__deliver si__deliver;

/* `notify` and `upload` are borrowed; upload NULL: there is no dashboard. */
si__deliver *si__deliver_new(const si__settings *settings, si__notify *notify, const si__upload *upload);
void si__deliver_free(si__deliver *deliver);
void si__deliver_send(si__deliver *deliver, const char *destination, const si__alert *alerts, size_t count,
                      int64_t now_ms);
void si__deliver_tick(si__deliver *deliver, int64_t now_ms); /* sends or drops what is held */

#endif
