/* The pair of sockets by which libcurl wakes its own poll: see curl_pair.c. */
#ifndef SI_REPORT_CURL_PAIR_H
#define SI_REPORT_CURL_PAIR_H

#include <curl/curl.h>

/* As curl_multi_init; programs that this process starts inherit none of its descriptors. NULL: out of memory. */
CURLM *si__curl_multi_init(void);

#endif
