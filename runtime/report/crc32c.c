/*
 * CRC-32C by a table of 256, made on first use. Some hundred MB a second: the spool's disk is slower.
 *
 * Called by the spool on the worker thread, and at open.
 */
#include "crc32c.h"

#include <pthread.h>

#define POLYNOMIAL 0x82f63b78u /* 0x1edc6f41 with its bits reversed */

static uint32_t table[256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
        table[i] = crc;
    }
}

uint32_t si__crc32c(uint32_t crc, const void *data, size_t length) {
    const uint8_t *bytes = data;
    pthread_once(&once, make_table);
    crc = ~crc;
    for (size_t i = 0; i < length; i++) crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 0xff];
    return ~crc;
}
