/* Sessions of people: a random cookie whose hash is in the store, its CSRF token, and the one-time links that lead to
 * one. */
#ifndef SI_SERVER_SESSION_H
#define SI_SERVER_SESSION_H

#include "server.h"

#define SI__SESSION_IDLE_MS (12 * 3600000ll)
#define SI__SESSION_LONGEST_MS (7 * 86400000ll)
#define SI__SECRET_HEX 65 /* 256 bits as hex, with the NUL */

/* Reads the cookie and fills request->user and ->token when it stands for a living session. */
void si__session_read(si__request *request);

/* Writes of a new session; the cookie is in the answer after si__session_cookie. */
/* browser: what it says it is, or "". */
int si__session_make(si__tx *tx, int64_t user, const char *address, const char *browser, char token[SI__SECRET_HEX]);
void si__session_cookie(si__request *request, const char *token); /* "" takes it away */
int si__session_end(si__tx *tx, const char *token);

/* The token that changing requests must carry: of the session, or of nobody. */
void si__session_csrf(const si__request *request, char out[SI__SECRET_HEX]);

/* 1 when the request carries the CSRF token and comes from our own page; 0: it was answered with 403. */
int si__session_check_origin(si__request *request);

/* One-time links. purpose: "setup", "sign-in", "invite". */
int si__link_make(si__tx *tx, const char *purpose, int64_t user, const char *email, const char *role,
                  int64_t expires_ms, char token[SI__SECRET_HEX]);
typedef struct si__link {
    int64_t user;
    char email[256], role[16];
} si__link;
/* Uses a link up. 0, or SI_EAUTH: unknown, used or expired. */
int si__link_use(si__tx *tx, const char *purpose, const char *token, si__link *out);

void si__secret_make(char out[SI__SECRET_HEX]);
void si__secret_hash(const char *secret, uint8_t out[32]); /* SHA-256 */

#endif
