/* SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104), for signatures of webhooks. Pure; any thread. */
#ifndef SI_NOTIFY_SHA256_H
#define SI_NOTIFY_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SI__SHA256_BYTES 32

typedef struct si__sha256 {
    uint32_t state[8];
    uint64_t length; /* bytes so far */
    uint8_t block[64];
} si__sha256;

void si__sha256_begin(si__sha256 *hash);
void si__sha256_add(si__sha256 *hash, const void *data, size_t length);
void si__sha256_end(si__sha256 *hash, uint8_t digest[SI__SHA256_BYTES]);

typedef struct si__hmac_sha256 {
    si__sha256 inner;
    uint8_t outer_pad[64];
} si__hmac_sha256;

void si__hmac_sha256_begin(si__hmac_sha256 *mac, const void *key, size_t key_length);
void si__hmac_sha256_add(si__hmac_sha256 *mac, const void *data, size_t length);
void si__hmac_sha256_end(si__hmac_sha256 *mac, uint8_t digest[SI__SHA256_BYTES]);

void si__sha256_hex(const uint8_t digest[SI__SHA256_BYTES], char out[2 * SI__SHA256_BYTES + 1]);

#endif
