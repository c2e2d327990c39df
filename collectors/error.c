/*
 * Errors that the program reports, with the stack of the caller. Host threads; no allocation, no lock.
 *
 * The count is an instrument and never loses one; the stack and the message travel through the thread's ring, which may
 * be full.
 */
#include <errno.h>
#include <string.h>

#include "collector.h"
#include "native/fork.h"
#include "native/probe.h"
#include "native/record.h"
#include "si/si.h"

enum { MESSAGE_BYTES = 256 };

static void record(const char *group, const char *message, int counted, const void *caller) {
    char text[SI__NAME_BYTES + MESSAGE_BYTES];
    uint32_t group_bytes = (uint32_t)strnlen(group, SI__NAME_BYTES - 1);
    uint32_t message_bytes = (uint32_t)strnlen(message, MESSAGE_BYTES - 1);
    memcpy(text, group, group_bytes);
    text[group_bytes] = '\0';
    memcpy(text + group_bytes + 1, message, message_bytes);
    const si__record event = {.type = SI__EVENT_ERROR,
                              .value = !counted,
                              .count = 1,
                              .caller = caller,
                              .text = text,
                              .text_bytes = group_bytes + 1 + message_bytes};
    si__record_here(&event);
}

void si_error_record(const char *group, const char *message) {
    if (!si__owner_region()) return;
    int saved = errno;
    if (!group) group = "";
    if (!message) message = "";
    si__instrument *count = si__instrument_get(SI__INSTRUMENT_ERROR, group);
    if (count) atomic_fetch_add_explicit(&count->count, 1, memory_order_relaxed);
    record(group, message, count != NULL, __builtin_return_address(0));
    errno = saved;
}

static int start(char *reason, size_t reason_bytes) {
    (void)reason;
    (void)reason_bytes;
    return 0;
}

const si__collector si__collector_error = {.name = "error", .title = "Errors", .start = start};
