/*
 * One HTTP request and its answer, as a handler sees it: arguments, the person asking, and ways to answer.
 *
 * A request is made on an HTTP thread, handled on a worker thread (with that worker's reader), and sent by the HTTP
 * thread again. It has one owner at any time.
 */
#ifndef SI_SERVER_REQUEST_H
#define SI_SERVER_REQUEST_H

#include <microhttpd.h>
#include <stddef.h>
#include <stdint.h>

#include "../../runtime/report/json.h"
#include "store.h"

typedef enum si__role { /* what a route asks for; the three for people are in rising order */
                        SI__ROLE_PUBLIC,
                        SI__ROLE_VIEWER,
                        SI__ROLE_EDITOR,
                        SI__ROLE_ADMIN,
                        SI__ROLE_AGENT,   /* an agent key, checked by the handler */
                        SI__ROLE_SCRAPER, /* loopback, a session or an agent key */
                        SI__ROLE_DEPLOYER /* an editor, or an agent key for its own application */
} si__role;

const char *si__role_name(si__role role);  /* "viewer", "editor", "admin" */
si__role si__role_parse(const char *name); /* SI__ROLE_PUBLIC: none of the three */

typedef struct si__user { /* id 0: nobody is signed in */
    int64_t id;
    si__role role;
    char name[128], email[256];
} si__user;

struct si__server;
struct si__route;

typedef struct si__request {
    struct si__server *server;
    struct MHD_Connection *connection;
    const struct si__route *route;
    char *path;          /* owned, decoded */
    char parameter[128]; /* what stands for :id in the path */
    char *body;          /* owned; NULL: none */
    size_t body_length, body_capacity;
    int refused_status; /* not 0: the body is read but not kept, then this is the answer */
    si__reader *reader; /* while a handler runs */
    si__user user;      /* of a key: no id, its name as the address */
    int64_t key_app;    /* of the agent key or reading key that came instead of a session; 0: none */
    char token[65];     /* the session cookie; "" none. Secret */
    char address[64];   /* of the client */
    int64_t started_ns;
    int dispatched; /* was given to the workers */
    /* the answer */
    int status;
    char *out; /* owned, malloc'ed */
    size_t out_length;
    const char *content_type; /* a literal */
    char cookie[256], disposition[256];
    int retry_after_s; /* 0: no header */
    int gzipped;
    struct si__request *next; /* in a pool's queue */
} si__request;

/* An argument of the query string, or fallback. Borrowed. */
const char *si__request_argument(si__request *request, const char *name, const char *fallback);
const char *si__request_header(si__request *request, const char *name); /* NULL: absent */

/* The answer of a handler: exactly one of these. Messages are sentences for people. */
void si__answer_error(si__request *request, int status, const char *code, const char *message, const char *field);
void si__answer_json(si__request *request, int status, si__json_writer *json);
void si__answer_nothing(si__request *request);                                                   /* 204 */
void si__answer_take(si__request *request, const char *content_type, char *text, size_t length); /* 200; takes text */
void si__answer_failure(si__request *request, int error); /* an SI_E* of the store */

/* Arguments that many routes share. Not 0: it was answered with an error already. */
int si__request_app(si__request *request, int64_t *app);
int si__request_range(si__request *request, si__range *range); /* app, env, from, to, src */
int si__request_time(si__request *request, const char *name, int64_t fallback, int64_t *out);
int si__request_limit(si__request *request, size_t fallback, size_t most, size_t *limit); /* limit=N, at most `most` */
int si__request_body(si__request *request, si__json **out);                               /* a JSON object; free it */

/* Runs a write on the writer's thread and waits. Not 0: it was answered with an error already. */
int si__request_write(si__request *request, int (*apply)(si__tx *tx, void *arg), void *arg);

#endif
