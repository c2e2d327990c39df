/* The web page: files embedded in the program, served with ETag, gzip and a strict content security policy. HTTP
 * threads. */
#ifndef SI_SERVER_PAGE_H
#define SI_SERVER_PAGE_H

#include <microhttpd.h>

struct si__asset;

struct si__asset *si__page_load(void); /* compresses each file once; NULL: out of memory */
void si__page_free(struct si__asset *assets);

/* Queues the file of that path, or the page itself for any other path. */
enum MHD_Result si__page_send(struct si__asset *assets, struct MHD_Connection *connection, const char *path);

/* Headers that every answer carries. */
void si__page_harden(struct MHD_Response *response);

#endif
