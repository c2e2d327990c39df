/*
 * Names for what is asked by address: URLs, paths and keys, with what tells one object from another taken out. Pure; no
 * allocation; any thread. `out` has SI__NAME_BYTES and always ends with a NUL.
 */
#ifndef SI_NATIVE_PATTERN_H
#define SI_NATIVE_PATTERN_H

#include <stddef.h>

#include "region.h"

/* "GET api.example.org/orders/:id". No user, password, query or fragment; `method` NULL: "HTTP". Schemes other than
   HTTP stand in place of the method. */
void si__pattern_url(const char *method, const char *url, char *out);

/* "GET /orders/:id" */
void si__pattern_path(const char *method, const char *path, char *out);

/* A Redis command and its key (NULL: none): "GET user:*:name". Values are never in it; commands that carry scripts,
   secrets or no key are the command alone. */
void si__pattern_command(const char *command, size_t command_bytes, const char *key, size_t key_bytes, char *out);

#endif
