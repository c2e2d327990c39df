/* Keys of calls by the whole way to them; see callpath.h. */
#include "callpath.h"

#include <pthread.h>
#include <si/si.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static uint64_t secret[8];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_secret(void) {
    randombytes_buf(secret, sizeof secret);
}

static uint64_t fold(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static si__callpath join(si__callpath way, si__callpath next) {
    return (si__callpath){fold(way.a ^ secret[0], next.a ^ secret[1]), fold(way.b ^ secret[2], next.b ^ secret[3])};
}

static si__callpath of_text(si__wire_text text) {
    si__callpath hash = {secret[4], secret[5]};
    uint64_t words[2];
    size_t left = text.length;
    for (const char *at = text.data; left; at += sizeof words) {
        size_t bytes = left < sizeof words ? left : sizeof words;
        words[0] = words[1] = 0;
        memcpy(words, at, bytes);
        hash = (si__callpath){fold(hash.a ^ words[0], secret[6] ^ words[1]),
                              fold(hash.b ^ words[1], secret[7] ^ words[0])};
        left -= bytes;
    }
    hash.a ^= text.length;
    hash.b += text.length;
    return hash;
}

static void hash_frames(const si__wire_names *names, si__callpath *texts, si__callpath *frames) {
    for (size_t i = 0; i < names->text_count; i++) texts[i] = of_text(names->texts[i]);
    for (size_t i = 0; i < names->frame_count; i++) {
        const si__wire_frame *f = &names->frames[i];
        si__callpath line = {f->line, ~(uint64_t)f->line};
        frames[i] = join(join(texts[f->function], texts[f->file]), join(texts[f->module], line));
    }
}

static void hash_tree(const si__wire_tree *tree, si__callpath root, const si__callpath *frames, si__callpath *ways,
                      si__callpath *keys) {
    ways[0] = root;
    for (uint32_t i = 1; i < tree->node_count; i++) ways[i] = join(ways[tree->parents[i]], frames[tree->frames[i]]);
    for (size_t i = 0; i < tree->value_count; i++) keys[i] = ways[tree->values[i].node];
}

int si__callpaths_make(si__callpaths *paths, int64_t app, const si__report *report) {
    const si__wire_names *names = report->names;
    size_t nodes = 1, used = 0;
    *paths = (si__callpaths){NULL, 0};
    pthread_once(&once, make_secret);
    for (size_t i = 0; i < report->profile_count; i++) {
        const si__wire_tree *tree = report->profiles[i].wire;
        if (!tree) continue;
        paths->count += tree->value_count;
        if (tree->node_count > nodes) nodes = tree->node_count;
    }
    if (!names || !paths->count) return SI_OK;
    paths->keys = malloc(paths->count * sizeof *paths->keys);
    si__callpath *hashes = calloc(names->text_count + names->frame_count + nodes, sizeof *hashes);
    if (!paths->keys || !hashes) {
        free(hashes);
        si__callpaths_free(paths);
        return SI_ENOMEM;
    }
    si__callpath *frames = hashes + names->text_count, *ways = frames + names->frame_count;
    si__callpath root = {secret[6] ^ (uint64_t)app, secret[7] ^ (uint64_t)app};
    hash_frames(names, hashes, frames);
    for (size_t i = 0; i < report->profile_count; i++) {
        const si__wire_tree *tree = report->profiles[i].wire;
        if (!tree) continue;
        hash_tree(tree, root, frames, ways, paths->keys + used);
        used += tree->value_count;
    }
    free(hashes);
    return SI_OK;
}

void si__callpaths_free(si__callpaths *paths) {
    free(paths->keys);
    *paths = (si__callpaths){NULL, 0};
}
