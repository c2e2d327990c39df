/* HTTP libraries that are measured: libcurl in http.c, and libmicrohttpd, whose hooks these are, in http_server.c. */
#ifndef SI_COLLECTORS_HTTP_H
#define SI_COLLECTORS_HTTP_H

#include "native/call.h"

extern const si__hook_table si__curl_hooks[SI__COPIES], si__http_server_hooks[SI__COPIES];

#endif
