/* What the end of an upload means: stored, refused for good, or to be tried again. Used by upload.c; loop thread. */
#ifndef SI_REPORT_UPLOAD_ANSWER_H
#define SI_REPORT_UPLOAD_ANSWER_H

#include <stdint.h>

#include "transfers.h"

typedef enum si__answer_kind {
    SI__ANSWER_STORED,
    SI__ANSWER_DUPLICATE, /* stored before */
    SI__ANSWER_REJECTED,  /* this report never will be */
    SI__ANSWER_KEY,       /* 401, 403: none will be with this key */
    SI__ANSWER_GONE,      /* 410: the application of this key was deleted, and wants no reports */
    SI__ANSWER_SERVER,    /* 408, 429, 5xx: later */
    SI__ANSWER_NETWORK,   /* no answer */
    SI__ANSWER_FOREIGN    /* an answer, but not from a dashboard */
} si__answer_kind;

typedef struct si__answer {
    si__answer_kind kind;
    uint64_t retry_after_ms; /* 0: not said; at most 24 h */
    int may_be_the_report;   /* 500: perhaps it is this report that the server fails on */
    char what[256];          /* for people */
} si__answer;

void si__answer_read(CURL *easy, CURLcode code, const si__transfer_body *body, si__answer *out);

#endif
