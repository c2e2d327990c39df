/*
 * Copies of a store: made while the server runs or not, put back when it does not. Main thread of a subcommand, or of
 * the server before it migrates.
 */
#ifndef SI_SERVER_BACKUP_H
#define SI_SERVER_BACKUP_H

#include "db.h"

/* Copies what `db` has committed to `file`, which must not be there yet: complete, checked and on disk, or not there.
   0, SI_EEXIST, SI_ELIMIT (not enough room) or SI_EIO with error set. Writers go on meanwhile. */
int si__backup_copy(si__db *db, const char *file, char *error, size_t error_bytes);

/* The same for the store in data_dir. */
int si__backup_make(const char *data_dir, const char *file, char *error, size_t error_bytes);

/* Puts `file` in the place of the store in data_dir (made when missing); what was there is kept as
   si.db.before-restore. Refused with SI_EEXIST while a server runs there, with SI_EFORMAT when the file is not a sound
   store of a version that this program knows. */
int si__backup_restore(const char *data_dir, const char *file, char *error, size_t error_bytes);

#endif
