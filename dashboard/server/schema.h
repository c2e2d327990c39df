/* The store's schema, its version and the way forward from older versions. */
#ifndef SI_SERVER_SCHEMA_H
#define SI_SERVER_SCHEMA_H

#include "db.h"

/* Brings the file to the current version in one transaction; with `check`, after SQLite's quick check (reads the whole
   file). 0, SI_EFORMAT (damaged, or written by a newer si-dashboard) or SI_E* with error set; then nothing was changed.
 */
int si__schema_open(si__db *db, int check, char *error, size_t error_bytes);

#endif
