/* The store's schema, its version and the way forward from older versions. */
#ifndef SI_SERVER_SCHEMA_H
#define SI_SERVER_SCHEMA_H

#include "db.h"

/* Brings the file to the current version in one transaction; with `check`, after SQLite's quick check (reads the whole
   file, hence only up to 4 GiB) and a copy of an older version beside it, si.db.version-N. Without, an older version is
   refused: a server may be running on it. 0, SI_EFORMAT (damaged, or written by a newer si-dashboard) or SI_E* with
   error set; then nothing was changed.
 */
int64_t si__schema_version(void); /* what this program writes */

int si__schema_open(si__db *db, int check, char *error, size_t error_bytes);

#endif
