/* Agent keys: "si_<id>_<secret>", 256 random bits, stored as a hash, for one application and environment. */
#ifndef SI_SERVER_KEY_H
#define SI_SERVER_KEY_H

#include "request.h"

#define SI__KEY_BYTES 96

typedef enum si__key_purpose {
    SI__KEY_REPORTS, /* of an agent: sends reports, marks deploys, gives sources */
    SI__KEY_READS    /* of another program: reads what is told about its application */
} si__key_purpose;

typedef struct si__new_key {
    const char *app, *environment, *label, *author; /* author: for the audit log */
    const char *address;
    si__key_purpose purpose;
    int most_live;           /* SI_EEXIST when that many of the purpose are live already; 0: no limit */
    char id[17];             /* out */
    char key[SI__KEY_BYTES]; /* out: shown once */
} si__new_key;

/* The writer's apply for an si__new_key; also makes the application. 0 or SI_E*. */
int si__key_make_apply(si__tx *tx, void *new_key);

/* 1 when names can be an application's and an environment's: 1 to 100 bytes, no control characters, no '/'. */
int si__key_is_name(const char *text);

/* The application a presented key is for. 0, SI_EAUTH (unknown), SI_ESTATE (revoked) or SI_ENOTFOUND (its application
   was removed). `id` gets the key's id. */
int si__key_check(si__reader *reader, const char *key, int64_t *app, char *app_name, char *environment,
                  size_t name_bytes, char id[17]);

int si__key_check_for(si__reader *reader, const char *key, si__key_purpose purpose, int64_t *app, char *app_name,
                      char *environment, size_t name_bytes, char id[17]);

/* Notes that a key was used, inside the report's transaction; at most once a minute. */
int si__key_used(si__tx *tx, const char *id);

#endif
