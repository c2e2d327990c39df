/*
 * Publishes tables into a region's arena: decides which modules' rows fit, copies new ones in, keeps those of unchanged
 * modules where they are, and swaps the root. Runtime's worker thread; walks go on meanwhile, in this process or
 * another.
 */
#include <stdlib.h>
#include <string.h>

#include "si/si.h"
#include "unwind.h"
#include "unwind_arena.h"
#include "unwind_cache.h"

enum { RECLAIM_WAIT_MS = 20, MODULES_MAX = 65536 };

/* One publication under way. */
typedef struct request {
    si__unwind_cache *cache;
    si__publication *publication;
    const si__module *modules;
    size_t count;
    const char *root;
    si__published_table *tables; /* what the new root will name: one per distinct file */
    size_t table_count;
    uint32_t *of_module;    /* index into tables */
    uint32_t *first_module; /* of each table */
} request;

static si__publication *publication_get(si__unwind_cache *cache, si__region *region) {
    si__publication **head = si__unwind_cache_publications(cache);
    for (si__publication *p = *head; p; p = p->next)
        if (si__arena_is_ours(&p->book, region)) return p;
    si__unwind_forget(cache, region); /* another region at the same address */
    si__publication *p = calloc(1, sizeof(*p));
    if (!p) return NULL;
    if (si__arena_open(&p->book, region)) {
        free(p);
        return NULL;
    }
    p->next = *head;
    *head = p;
    return p;
}

/* ---- Which files ---- */

static uint64_t id_hash(const si__file_id *id) {
    uint64_t h = id->kind;
    h = (h ^ id->device) * 0x9e3779b97f4a7c15ull;
    h = (h ^ id->inode) * 0x9e3779b97f4a7c15ull;
    h = (h ^ id->size ^ id->modified_ns) * 0x9e3779b97f4a7c15ull;
    return h >> 32;
}

/* Gives every module its table; modules of one file share one. */
static int collect(request *q) {
    size_t capacity = 64;
    while (capacity < q->count * 2) capacity *= 2;
    uint32_t *places = calloc(capacity, sizeof(*places));
    if (!places) return SI_ENOMEM;
    for (size_t i = 0; i < q->count; i++) {
        si__file_id id;
        si__file_identify(&q->modules[i], q->root, &id);
        size_t at = id_hash(&id) & (capacity - 1);
        while (places[at] && !si__file_id_equal(&q->tables[places[at] - 1].id, &id)) at = (at + 1) & (capacity - 1);
        if (!places[at]) {
            q->tables[q->table_count] = (si__published_table){.id = id};
            q->first_module[q->table_count] = (uint32_t)i;
            places[at] = (uint32_t)++q->table_count;
        }
        q->of_module[i] = places[at] - 1;
    }
    free(places);
    return 0;
}

/* Rows published before stay where they are. */
static void reuse(request *q) {
    si__publication *p = q->publication;
    for (size_t i = 0; i < p->table_count; i++) p->tables[i].wanted = 0;
    for (size_t i = 0; i < q->table_count; i++) {
        for (size_t j = 0; j < p->table_count; j++) {
            if (!p->tables[j].extent.count || !si__file_id_equal(&p->tables[j].id, &q->tables[i].id)) continue;
            p->tables[j].wanted = 1;
            q->tables[i].extent = p->tables[j].extent;
        }
    }
}

static const si__unwind_table *table_of(request *q, size_t i) {
    return si__unwind_cache_table(q->cache, &q->tables[i].id, &q->modules[q->first_module[i]], q->root);
}

typedef struct candidate {
    uint32_t units, table;
} candidate;

static int by_size(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->units != y->units) return x->units < y->units ? -1 : 1;
    return x->table < y->table ? -1 : x->table > y->table;
}

/* Marks as wanted what fits together, small ones first: a big module costs many others their rows. */
static int admit(request *q, uint32_t root_units) {
    candidate *all = calloc(q->table_count + 1, sizeof(*all));
    if (!all) return SI_ENOMEM;
    size_t n = 0;
    for (size_t i = 0; i < q->table_count; i++) {
        uint32_t units = q->tables[i].extent.count;
        if (!units) {
            const si__unwind_table *t = table_of(q, i);
            units = t ? t->bytes / SI__ARENA_UNIT : 0;
        }
        if (units) all[n++] = (candidate){units, (uint32_t)i};
    }
    qsort(all, n, sizeof(*all), by_size);
    uint64_t room = si__arena_capacity(), used = 2ull * root_units; /* the old root lives on for a moment */
    for (size_t i = 0; i < n; i++) {
        used += all[i].units;
        q->tables[all[i].table].wanted = used <= room;
    }
    free(all);
    return 0;
}

/* Copies wanted tables that are not there yet. Returns how many found no room. */
static size_t place(request *q) {
    size_t missing = 0;
    for (size_t i = 0; i < q->table_count; i++) {
        si__published_table *t = &q->tables[i];
        if (!t->wanted || t->extent.count) continue;
        const si__unwind_table *table = table_of(q, i);
        if (!table) continue;
        t->extent = si__arena_take(&q->publication->book, table->bytes);
        if (t->extent.count)
            memcpy(si__arena_at(&q->publication->book, t->extent), table, table->bytes);
        else
            missing++;
    }
    return missing;
}

/* ---- The root ---- */

static size_t memory_offset(size_t modules) {
    size_t bytes = sizeof(si__unwind_root) + modules * (sizeof(uint64_t) + sizeof(si__unwind_entry));
    return (bytes + SI__ARENA_UNIT - 1) & ~(size_t)(SI__ARENA_UNIT - 1);
}

static size_t root_bytes(size_t modules) {
    return memory_offset(modules) + SI__MEMORY_COUNT * sizeof(uint64_t);
}

static void publish_root(request *q, si__extent extent) {
    si__publication *p = q->publication;
    si__unwind_root *root = si__arena_at(&p->book, extent);
    uint64_t *starts = (uint64_t *)(void *)(root + 1);
    si__unwind_entry *entries = (si__unwind_entry *)(void *)(starts + q->count);
    memset(root, 0, root_bytes(q->count));
    root->count = (uint32_t)q->count;
    root->memory_off = (uint32_t)memory_offset(q->count);
    for (size_t i = 0; i < q->count; i++) {
        const si__published_table *t = &q->tables[q->of_module[i]];
        starts[i] = q->modules[i].start;
        entries[i] = (si__unwind_entry){.end = q->modules[i].end,
                                        .file_offset = q->modules[i].file_offset,
                                        .table = t->extent.count ? t->extent.start : 0};
    }
    si__arena_publish(&p->book, extent);
}

/* Lets go of tables that the new root will not name. They stay readable until the last walk under the old root ended.
 */
static void retire_rest(request *q) {
    si__publication *p = q->publication;
    for (size_t i = 0; i < q->table_count; i++) {
        if (q->tables[i].wanted) continue;
        for (size_t j = 0; j < p->table_count; j++) /* there already, but squeezed out */
            if (p->tables[j].extent.start == q->tables[i].extent.start) p->tables[j].wanted = 0;
        q->tables[i].extent = (si__extent){0, 0};
    }
    for (size_t j = 0; j < p->table_count; j++)
        if (!p->tables[j].wanted) si__arena_retire(&p->book, p->tables[j].extent);
}

/* The last resort when there is room, but not in one piece: withdraw everything, and begin with an empty arena. Walks
   find no rows until the next root is published, some milliseconds later. */
static int withdraw(request *q) {
    si__publication *p = q->publication;
    if (si__arena_reserve(&p->book, p->table_count)) return SI_ENOMEM;
    for (size_t j = 0; j < p->table_count; j++) {
        si__arena_retire(&p->book, p->tables[j].extent);
        p->tables[j].extent = (si__extent){0, 0};
    }
    si__arena_publish(&p->book, (si__extent){0, 0});
    si__arena_reclaim(&p->book, RECLAIM_WAIT_MS);
    for (size_t i = 0; i < q->table_count; i++) q->tables[i].extent = (si__extent){0, 0};
    return 0;
}

/* From here on the publication describes what the request placed. */
static void adopt_tables(request *q) {
    free(q->publication->tables);
    q->publication->tables = q->tables;
    q->publication->table_count = q->table_count;
}

/* After a first root that some tables found no room for. */
static void publish_again(request *q) {
    si__arena_book *book = &q->publication->book;
    si__arena_reclaim(book, RECLAIM_WAIT_MS); /* what was retired may have made room */
    if (place(q) > 0 && !withdraw(q)) (void)place(q);
    si__extent root = si__arena_take(book, root_bytes(q->count));
    if (root.count && !si__arena_reserve(book, 0))
        publish_root(q, root);
    else
        si__arena_give(book, root); /* the tables placed now are named by the next root */
}

static int publish(request *q) {
    si__arena_book *book = &q->publication->book;
    size_t bytes = root_bytes(q->count);
    int rc = collect(q);
    if (rc) return rc;
    si__arena_reclaim(book, 0);
    reuse(q);
    si__extent root = si__arena_take(book, bytes);
    if (!root.count) {
        rc = withdraw(q);
        root = si__arena_take(book, bytes);
        if (rc || !root.count) return rc ? rc : SI_ELIMIT;
    }
    rc = admit(q, root.count);
    if (!rc) rc = si__arena_reserve(book, q->publication->table_count);
    if (rc) {
        si__arena_give(book, root);
        return rc;
    }
    retire_rest(q);
    size_t missing = place(q);
    publish_root(q, root);
    adopt_tables(q);
    if (missing) publish_again(q);
    si__unwind_cache_trim(q->cache);
    return 0;
}

/* Counts modules with rows, and files without. */
static int count_rows(const request *q, size_t *unavailable) {
    int with = 0;
    *unavailable = 0;
    for (size_t i = 0; i < q->count; i++) {
        const si__published_table *t = &q->tables[q->of_module[i]];
        if (t->extent.count)
            with++;
        else if (t->id.kind != SI__FILE_NONE)
            ++*unavailable;
    }
    return with;
}

int si__unwind_publish(si__unwind_cache *cache, si__region *region, const si__module *modules, size_t count,
                       const char *root, size_t *unavailable) {
    *unavailable = 0;
    if (count > MODULES_MAX) return SI_ELIMIT;
    request q = {.cache = cache, .modules = modules, .count = count, .root = root};
    q.publication = publication_get(cache, region);
    q.tables = calloc(count + 1, sizeof(*q.tables));
    q.of_module = calloc(count + 1, sizeof(*q.of_module));
    q.first_module = calloc(count + 1, sizeof(*q.first_module));
    int rc = SI_ENOMEM;
    if (q.publication && q.tables && q.of_module && q.first_module) rc = publish(&q);
    if (rc)
        free(q.tables);
    else
        rc = count_rows(&q, unavailable);
    free(q.of_module);
    free(q.first_module);
    return rc;
}
