/* Accounts: the first one, links that lead to one. Also used by the command line, where no server runs. */
#ifndef SI_SERVER_ACCOUNT_H
#define SI_SERVER_ACCOUNT_H

#include "session.h"

#define SI__SIGN_IN_LINK_MS (15 * 60000ll)

/* A new set-up link when there is no user yet; token "" otherwise. Earlier set-up links stop working. */
int si__account_setup_link(si__tx *tx, char token[SI__SECRET_HEX]);

/* A one-time sign-in link for the first admin, who is made (without a password) when there is no user. */
int si__account_sign_in_link(si__tx *tx, char token[SI__SECRET_HEX]);

/* A usable e-mail address: one @, no spaces or control characters, at most 254 bytes. */
int si__account_is_email(const char *text);

#define SI__PASSWORD_LEAST 10

#endif
