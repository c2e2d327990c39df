/*
 * A real si-dashboard for tests: its process in a directory of its own on a free port, agents and people who talk to it
 * over HTTP. Everything waits for conditions with a deadline and fails the test loudly.
 */
#ifndef SPEC_DASHBOARD_H
#define SPEC_DASHBOARD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../../runtime/report/json.h"

typedef struct dashboard {
    char dir[64], url[64], said[4096]; /* said: what it printed, as last read */
    pid_t pid;
    int output;                /* the file of its standard output and error */
    uint64_t file_limit_bytes; /* set before start: no file may grow beyond; 0: as large as they like */
} dashboard;

void dashboard_make(dashboard *d);                              /* a directory, no process yet */
void dashboard_start(dashboard *d, const char *const *options); /* NULL-ended, after --listen and --data; may be NULL */
/* Waits until it has printed `before`; out gets what stands behind that, up to the line's end. */
void dashboard_said(dashboard *d, const char *before, char *out, size_t out_bytes);
int dashboard_stop(dashboard *d, int signal); /* waits; the wait status, which must be 0 after SIGTERM */
void dashboard_remove(dashboard *d);          /* stops what runs, removes the directory */

/* Runs si-dashboard with arguments to its end; standard output and error go to out. Returns the exit status. */
int dashboard_run(const char *const *arguments, char *out, size_t out_bytes);
void dashboard_key(dashboard *d, const char *app, const char *environment, char out[128]); /* by the key command */

typedef struct reply {
    long status; /* 0: no answer */
    char *body;  /* NUL-terminated */
    size_t length;
    char *head; /* the headers as they came */
} reply;
void reply_free(reply *r);
const char *reply_header(const reply *r, const char *name, char *out, size_t out_bytes); /* "" when absent */

/* One request. headers: NULL-ended list of "Name: value" or NULL. body NULL: none. */
reply http(const char *method, const char *url, const char *const *headers, const void *body, size_t length);

typedef struct person { /* somebody with a browser */
    dashboard *d;
    char cookie[256], csrf[80];
} person;

void person_visit(person *p, dashboard *d);   /* nobody yet: has an anonymous CSRF token */
void person_sign_in(person *p, dashboard *d); /* as the first admin, by the sign-in-link command */
/* Path from /api/v1 on. POST and DELETE carry the CSRF token and Origin. body: JSON text or NULL. Keeps a new cookie.
 */
reply person_ask(person *p, const char *method, const char *path, const char *body);
/* The JSON of a 2xx answer, to be freed with si__json_free; fails the test otherwise. */
si__json *person_get(person *p, const char *path);
si__json *reply_json(const reply *r);

long person_status(person *p, const char *method, const char *path, const char *body); /* of the answer alone */
/* Somebody new, invited by an admin, who accepts with the password `PERSON_PASSWORD`. */
void person_join(person *admin, person *p, const char *email, const char *role);
#define PERSON_PASSWORD "correct horse battery"

/* A program with a key instead of a session. Path from /api/v1 on. */
reply key_ask(dashboard *d, const char *key, const char *method, const char *path, const void *body, size_t length);

/* What an agent sends; returns the status (0: no answer). status_text: "stored", "duplicate", or the error's code. */
long agent_send(dashboard *d, const char *key, const uint8_t *data, size_t length, char status_text[32]);

#endif
