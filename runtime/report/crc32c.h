/* CRC-32C (Castagnoli), as iSCSI and ext4 use it: finds torn and flipped bytes in the spool. Pure; any thread. */
#ifndef SI_REPORT_CRC32C_H
#define SI_REPORT_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues from `crc`, the value for what came before (0 at the start). */
uint32_t si__crc32c(uint32_t crc, const void *data, size_t length);

#endif
