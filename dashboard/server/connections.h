/* Every open connection with a deadline for what it is doing, so that slow clients cannot hold places for ever. */
#ifndef SI_SERVER_CONNECTIONS_H
#define SI_SERVER_CONNECTIONS_H

#include <microhttpd.h>
#include <stddef.h>

typedef struct si__connections si__connections;

typedef enum si__phase {
    SI__PHASE_IDLE,    /* waiting for a request, or in its header: 60 s */
    SI__PHASE_BODY,    /* sending us a body: 60 s */
    SI__PHASE_WORKING, /* we work: no deadline */
    SI__PHASE_SENDING  /* reading our answer: 300 s */
} si__phase;

si__connections *si__connections_new(void); /* with a thread that looks every few seconds; NULL: not possible */
void si__connections_free(si__connections *connections);
void si__connections_notify(void *connections, struct MHD_Connection *connection, void **context,
                            enum MHD_ConnectionNotificationCode code); /* for MHD_OPTION_NOTIFY_CONNECTION */
void si__connections_phase(si__connections *connections, struct MHD_Connection *connection, si__phase phase);
size_t si__connections_count(si__connections *connections);

#endif
