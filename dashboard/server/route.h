/* The routes: one table of method, path, role and handler. */
#ifndef SI_SERVER_ROUTE_H
#define SI_SERVER_ROUTE_H

#include "request.h"

typedef struct si__route {
    const char *method, *path; /* ":id" stands for one part of the path */
    si__role role;             /* the least that is needed */
    size_t body_limit;         /* bytes; 0: no body */
    void (*handler)(si__request *request);
    int of_app; /* 1: answers about the one application of app and env; a reading key of that one may ask too */
} si__route;

/* The route for a request; fills parameter. NULL: none; then *other_method says whether the path exists with another
 * method. */
const si__route *si__route_find(const char *method, const char *path, char *parameter, size_t parameter_bytes,
                                int *other_method);
const si__route *si__route_at(size_t index); /* NULL after the last: for the tests that go through the table */

#endif
