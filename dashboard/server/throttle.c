/* Slows down guessing; see throttle.h. A fixed table: when it is full the longest quiet entry of a bucket gives way. */
#include "throttle.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 1024
#define WAYS 8
#define MEMORY_MS 3600000
#define LONGEST_S 900

typedef struct entry {
    uint64_t who; /* keyed hash; 0: free */
    int failures;
    int64_t last_ms, until_ms;
} entry;

struct si__throttle {
    pthread_mutex_t lock;
    uint8_t key[crypto_shorthash_KEYBYTES];
    entry entries[BUCKETS][WAYS];
};

si__throttle *si__throttle_new(void) {
    si__throttle *throttle = calloc(1, sizeof *throttle);
    if (!throttle) return NULL;
    pthread_mutex_init(&throttle->lock, NULL);
    crypto_shorthash_keygen(throttle->key);
    return throttle;
}

void si__throttle_free(si__throttle *throttle) {
    if (!throttle) return;
    pthread_mutex_destroy(&throttle->lock);
    free(throttle);
}

static uint64_t hash_of(const si__throttle *throttle, const char *who) {
    uint64_t hash;
    crypto_shorthash((unsigned char *)&hash, (const unsigned char *)who, strlen(who), throttle->key);
    return hash ? hash : 1;
}

static entry *find(si__throttle *throttle, uint64_t who, int64_t now_ms) {
    entry *bucket = throttle->entries[who % BUCKETS];
    for (int i = 0; i < WAYS; i++)
        if (bucket[i].who == who && now_ms - bucket[i].last_ms < MEMORY_MS) return &bucket[i];
    return NULL;
}

int si__throttle_wait_s(si__throttle *throttle, const char *who, int64_t now_ms) {
    uint64_t hash = hash_of(throttle, who);
    pthread_mutex_lock(&throttle->lock);
    entry *found = find(throttle, hash, now_ms);
    int64_t left = found ? found->until_ms - now_ms : 0;
    pthread_mutex_unlock(&throttle->lock);
    return left > 0 ? (int)((left + 999) / 1000) : 0;
}

void si__throttle_failed(si__throttle *throttle, const char *who, int free_tries, int64_t now_ms) {
    uint64_t hash = hash_of(throttle, who);
    pthread_mutex_lock(&throttle->lock);
    entry *found = find(throttle, hash, now_ms);
    if (!found) {
        entry *bucket = throttle->entries[hash % BUCKETS];
        found = bucket;
        for (int i = 1; i < WAYS; i++)
            if (bucket[i].last_ms < found->last_ms) found = &bucket[i];
        *found = (entry){.who = hash};
    }
    found->failures++;
    found->last_ms = now_ms;
    int over = found->failures - free_tries;
    if (over > 0) {
        int64_t wait_s = over > 10 ? LONGEST_S : (int64_t)1 << (over - 1);
        found->until_ms = now_ms + (wait_s > LONGEST_S ? LONGEST_S : wait_s) * 1000;
    }
    pthread_mutex_unlock(&throttle->lock);
}

void si__throttle_forget(si__throttle *throttle, const char *who) {
    uint64_t hash = hash_of(throttle, who);
    pthread_mutex_lock(&throttle->lock);
    entry *bucket = throttle->entries[hash % BUCKETS];
    for (int i = 0; i < WAYS; i++)
        if (bucket[i].who == hash) bucket[i] = (entry){0};
    pthread_mutex_unlock(&throttle->lock);
}
