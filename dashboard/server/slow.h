/* The slowest recent requests of people, for the page about the dashboard itself. Any thread. */
#ifndef SI_SERVER_SLOW_H
#define SI_SERVER_SLOW_H

#include <stdint.h>

#include "../../runtime/report/json.h"

void si__slow_note(const char *path, int64_t duration_ns); /* path: a route's literal */
void si__slow_write(si__json_writer *json);                /* an array of {path, ms, time_ms}, newest first */

#endif
