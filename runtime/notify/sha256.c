/*
 * SHA-256 as FIPS 180-4 writes it down, section by section: small rather than fast, for a few kilobytes an alert.
 *
 * Called when a webhook is sent, on the loop's thread.
 */
#include "sha256.h"

#include <stdio.h>
#include <string.h>

/* 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, unsigned n) {
    return x >> n | x << (32 - n);
}

/* 6.2.2 */
static void compress(uint32_t state[8], const uint8_t block[64]) {
    uint32_t w[64], v[8];
    for (int t = 0; t < 16; t++)
        w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 | (uint32_t)block[4 * t + 2] << 8 |
               block[4 * t + 3];
    for (int t = 16; t < 64; t++) {
        uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = s1 + w[t - 7] + s0 + w[t - 16];
    }
    memcpy(v, state, sizeof v);
    for (int t = 0; t < 64; t++) {
        uint32_t a = v[0], e = v[4];
        uint32_t s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25), ch = (e & v[5]) ^ (~e & v[6]);
        uint32_t s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22), maj = (a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]);
        uint32_t t1 = v[7] + s1 + ch + k[t] + w[t], t2 = s0 + maj;
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) state[i] += v[i];
}

void si__sha256_begin(si__sha256 *hash) {
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}; /* 5.3.3 */
    memcpy(hash->state, first, sizeof first);
    hash->length = 0;
}

void si__sha256_add(si__sha256 *hash, const void *data, size_t length) {
    const uint8_t *from = data;
    while (length > 0) {
        size_t used = hash->length % 64, n = 64 - used < length ? 64 - used : length;
        memcpy(hash->block + used, from, n);
        hash->length += n;
        from += n;
        length -= n;
        if (used + n == 64) compress(hash->state, hash->block);
    }
}

void si__sha256_end(si__sha256 *hash, uint8_t digest[SI__SHA256_BYTES]) {
    uint64_t bits = hash->length * 8;
    uint8_t tail[8];
    for (int i = 0; i < 8; i++) tail[i] = (uint8_t)(bits >> (56 - 8 * i));
    si__sha256_add(hash, "\x80", 1);
    while (hash->length % 64 != 56) si__sha256_add(hash, "", 1);
    si__sha256_add(hash, tail, sizeof tail);
    for (int i = 0; i < SI__SHA256_BYTES; i++) digest[i] = (uint8_t)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
}

void si__hmac_sha256_begin(si__hmac_sha256 *mac, const void *key, size_t key_length) {
    uint8_t pad[64] = {0};
    if (key_length > sizeof pad) {
        si__sha256 hash;
        si__sha256_begin(&hash);
        si__sha256_add(&hash, key, key_length);
        si__sha256_end(&hash, pad);
    } else if (key_length) {
        memcpy(pad, key, key_length);
    }
    for (size_t i = 0; i < sizeof pad; i++) {
        mac->outer_pad[i] = pad[i] ^ 0x5c;
        pad[i] ^= 0x36;
    }
    si__sha256_begin(&mac->inner);
    si__sha256_add(&mac->inner, pad, sizeof pad);
}

void si__hmac_sha256_add(si__hmac_sha256 *mac, const void *data, size_t length) {
    si__sha256_add(&mac->inner, data, length);
}

void si__hmac_sha256_end(si__hmac_sha256 *mac, uint8_t digest[SI__SHA256_BYTES]) {
    uint8_t inner[SI__SHA256_BYTES];
    si__sha256 outer;
    si__sha256_end(&mac->inner, inner);
    si__sha256_begin(&outer);
    si__sha256_add(&outer, mac->outer_pad, sizeof mac->outer_pad);
    si__sha256_add(&outer, inner, sizeof inner);
    si__sha256_end(&outer, digest);
}

void si__sha256_hex(const uint8_t digest[SI__SHA256_BYTES], char out[2 * SI__SHA256_BYTES + 1]) {
    for (int i = 0; i < SI__SHA256_BYTES; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
}
