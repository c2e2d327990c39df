/* Where libsi-probe.so is: SI_PROBE, beside the `si` command as built or installed, or at its installed place. */
#ifndef SI_SIDECAR_PROBE_PATH_H
#define SI_SIDECAR_PROBE_PATH_H

#include <stddef.h>

/* Writes its absolute path. 1: found, 0: not. */
int si__probe_path(char *out, size_t out_bytes);

#endif
