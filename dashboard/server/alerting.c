/* Alerting; see alerting.h. */
#include "alerting.h"

#include <si/si.h>

int si__alerting_start(si__server *server, char *error, size_t error_bytes) {
    (void)error;
    (void)error_bytes;
    server->alerting = NULL;
    return SI_OK;
}
void si__alerting_wake(struct si__alerting *alerting) {
    (void)alerting;
}
void si__alerting_stop(struct si__alerting *alerting) {
    (void)alerting;
}
