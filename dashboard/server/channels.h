/*
 * What is known about the channels that notifications go to: which there are, what became of the last messages, tests
 * that people asked for. Filled by the alerting thread, read by workers; has its own lock. Never holds a secret.
 */
#ifndef SI_SERVER_CHANNELS_H
#define SI_SERVER_CHANNELS_H

#include <stddef.h>
#include <stdint.h>

#include "../../runtime/notify/notify.h"
#include "../../runtime/report/json.h"

#define SI__CHANNEL_NAME 96

typedef struct si__channels si__channels;

si__channels *si__channels_new(void); /* NULL: out of memory */
void si__channels_delete(si__channels *channels);

/* Replaces what is there by a channels file's text that the notifier took; what is known about a name stays. `error`
 * instead of a text: why the file was not taken; the old ones stay. Alerting thread. */
void si__channels_loaded(si__channels *channels, const char *text, size_t length);
void si__channels_refused(si__channels *channels, const char *error);

void si__channels_event(si__channels *channels, const si__notify_event *event); /* alerting thread */

/* Asks for a test message. 0, SI_ENOTFOUND (no channel of that name), or SI_EEXIST (one is on its way). Any thread. */
int si__channels_ask_test(si__channels *channels, const char *name, const char *author, int64_t now_ms);
/* Sends what was asked for. Alerting thread. */
void si__channels_send_tests(si__channels *channels, si__notify *notify, int64_t now_ms);

void si__channels_write(si__channels *channels,
                        si__json_writer *json); /* "channels", "configured", "error". Any thread */

#endif
