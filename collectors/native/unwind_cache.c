/*
 * Which file is behind a mapping, and its compiled table. Called by unwind_publish.c on the worker thread. Paths come
 * from another process and may name anything: only regular files are read, without blocking.
 */
#include "unwind_cache.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "si/si.h"

enum { KEPT_BYTES_MAX = 32 * 1024 * 1024 }; /* compilers have 10 MiB of rows, and start hundreds of times */

typedef struct cached_file {
    si__file_id id;
    si__unwind_table *table; /* NULL: no unwind information */
    uint64_t used;           /* clock of the cache */
} cached_file;

struct si__unwind_cache {
    cached_file *files;
    size_t count, capacity;
    uint64_t clock, aged; /* aged: clock when tables were looked through last */
    si__publication *publications;
};

si__unwind_cache *si__unwind_cache_new(void) {
    return calloc(1, sizeof(si__unwind_cache));
}

si__publication **si__unwind_cache_publications(si__unwind_cache *cache) {
    return &cache->publications;
}

static void publication_free(si__publication *p) {
    si__arena_close(&p->book);
    free(p->tables);
    free(p);
}

void si__unwind_forget(si__unwind_cache *cache, const si__region *region) {
    for (si__publication **at = &cache->publications; *at; at = &(*at)->next) {
        si__publication *p = *at;
        if (p->book.region != region) continue;
        *at = p->next;
        publication_free(p);
        return;
    }
}

void si__unwind_cache_free(si__unwind_cache *cache) {
    if (!cache) return;
    while (cache->publications) {
        si__publication *p = cache->publications;
        cache->publications = p->next;
        publication_free(p);
    }
    for (size_t i = 0; i < cache->count; i++) free(cache->files[i].table);
    free(cache->files);
    free(cache);
}

/* ---- Identity ---- */

/* As module.c composes what maps says; stat's numbers are laid out differently. */
static uint64_t device_of(dev_t device) {
    return (uint64_t)major(device) << 20 | minor(device);
}

void si__file_identify(const si__module *m, const char *root, si__file_id *out) {
    memset(out, 0, sizeof(*out));
    if (!strcmp(m->path, "[vdso]")) {
        out->kind = SI__FILE_VDSO;
        return;
    }
    if (m->path[0] != '/' || !m->inode) return;
    char path[PATH_MAX];
    struct stat st;
    int length = snprintf(path, sizeof(path), "%s%s", root, m->path);
    if (!m->deleted && length > 0 && (size_t)length < sizeof(path) && stat(path, &st) == 0) {
        /* Overlay and some other file systems tell maps one device and stat another: then the number proves nothing. */
        int other = device_of(st.st_dev) == m->device && st.st_ino != m->inode;
        if (!other && !S_ISREG(st.st_mode)) return; /* a mapped device */
        if (!other) {
            *out =
                (si__file_id){.device = st.st_dev,
                              .inode = st.st_ino,
                              .size = (uint64_t)st.st_size,
                              .modified_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec,
                              .kind = SI__FILE_PATH};
            return;
        }
    }
    *out = (si__file_id){.device = m->device, .inode = m->inode, .kind = SI__FILE_GONE};
}

/* ---- Compiling ---- */

static int compile_path(const char *path, si__unwind_table **out) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return SI_EIO;
    int rc = si__unwind_compile_fd(fd, out);
    close(fd);
    return rc;
}

/* The process behind a root prefix, as a /proc directory. */
static int process_directory(const char *root, char *out, size_t size) {
    if (!*root) return snprintf(out, size, "/proc/self") > 0;
    int pid, end = 0;
    if (sscanf(root, "/proc/%d/root%n", &pid, &end) != 1 || !end || root[end]) return 0;
    return snprintf(out, size, "/proc/%d", pid) > 0;
}

/* A file that has no name any more: through the kernel's link to it, which takes privileges, or as it is mapped. */
static int compile_gone(const si__module *m, const char *root, si__unwind_table **out) {
    char directory[64], path[160];
    if (!process_directory(root, directory, sizeof(directory))) return SI_ENOTFOUND;
    snprintf(path, sizeof(path), "%s/map_files/%llx-%llx", directory, (unsigned long long)m->start,
             (unsigned long long)m->end);
    int rc = compile_path(path, out);
    if (rc != SI_EIO || m->start < m->file_offset) return rc;
    snprintf(path, sizeof(path), "%s/mem", directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return SI_EIO;
    rc = si__unwind_compile_mapped(fd, m->start - m->file_offset, out);
    close(fd);
    return rc;
}

/* Every process of one kernel has the same vdso: ours stands for all. */
static int compile_vdso(si__unwind_table **out) {
    si__module_list list;
    const char *image = (const char *)getauxval(AT_SYSINFO_EHDR); // NOLINT(performance-no-int-to-ptr)
    if (!image) return SI_ENOTFOUND;
    int rc = si__module_list_read(getpid(), &list);
    if (rc) return rc;
    const si__module *m = si__module_find(&list, (uintptr_t)image);
    rc = m && m->start == (uintptr_t)image ? si__unwind_compile_memory(image, m->end - m->start, out) : SI_ENOTFOUND;
    si__module_list_free(&list);
    return rc;
}

static int compile_file(const si__file_id *id, const si__module *m, const char *root, si__unwind_table **out) {
    char path[PATH_MAX];
    switch (id->kind) {
    case SI__FILE_PATH:
        if ((size_t)snprintf(path, sizeof(path), "%s%s", root, m->path) >= sizeof(path)) return SI_ELIMIT;
        return compile_path(path, out);
    case SI__FILE_GONE:
        return compile_gone(m, root, out);
    case SI__FILE_VDSO:
        return compile_vdso(out);
    default:
        return SI_ENOTFOUND;
    }
}

const si__unwind_table *si__unwind_cache_table(si__unwind_cache *c, const si__file_id *id, const si__module *m,
                                               const char *root) {
    for (size_t i = 0; i < c->count; i++) {
        if (!si__file_id_equal(&c->files[i].id, id)) continue;
        c->files[i].used = ++c->clock;
        return c->files[i].table;
    }
    if (id->kind == SI__FILE_NONE) return NULL;
    if (c->count == c->capacity) {
        size_t capacity = c->capacity ? c->capacity * 2 : 64;
        cached_file *files = realloc(c->files, capacity * sizeof(*files));
        if (!files) return NULL;
        c->files = files;
        c->capacity = capacity;
    }
    si__unwind_table *table = NULL;
    int rc = compile_file(id, m, root, &table);
    if (rc == SI_ENOMEM || rc == SI_EIO) return NULL; /* may pass: to be tried again the next time */
    c->files[c->count++] = (cached_file){.id = *id, .table = table, .used = ++c->clock};
    return table;
}

static int by_use(const void *a, const void *b) {
    const cached_file *x = a, *y = b;
    return x->used > y->used ? -1 : x->used < y->used;
}

void si__unwind_cache_trim(si__unwind_cache *c) {
    enum { ENTRIES_MAX = 4096 }; /* files without rows cost little, but a hostile process could name many */
    if (c->count) qsort(c->files, c->count, sizeof(*c->files), by_use);
    size_t kept = 0, bytes = 0;
    for (size_t i = 0; i < c->count; i++) {
        size_t size = c->files[i].table ? c->files[i].table->bytes : 0;
        if (bytes + size > KEPT_BYTES_MAX || kept == ENTRIES_MAX) {
            free(c->files[i].table);
            continue;
        }
        bytes += size;
        c->files[kept++] = c->files[i];
    }
    c->count = kept;
}

size_t si__unwind_cache_age(si__unwind_cache *c) {
    size_t kept = 0, freed = 0;
    for (size_t i = 0; i < c->count; i++) {
        si__unwind_table *table = c->files[i].table;
        if (!table || c->files[i].used > c->aged) {
            c->files[kept++] = c->files[i];
            continue;
        }
        freed += table->bytes;
        free(table);
    }
    c->count = kept;
    c->aged = c->clock;
    return freed;
}
