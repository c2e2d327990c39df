/*
 * Binaries and the table of them. Interned on the worker thread when a process's modules were read; held by the
 * stack table (loop thread) and by raw profiles (worker thread), hence counted and locked.
 */
#include "binary.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "elf_note.h"
#include "si/si.h"

enum { BINARIES_MAX = 8192, PATH_BYTES = 4096 + 64 };

struct si__binaries {
    pthread_mutex_t lock;
    si__binary **items; /* each with a reference of ours */
    size_t count, capacity;
    size_t trim_at;
};

void si__binary_retain(si__binary *binary) {
    atomic_fetch_add_explicit(&binary->references, 1, memory_order_relaxed);
}

void si__binary_release(si__binary *binary) {
    if (!binary || atomic_fetch_sub_explicit(&binary->references, 1, memory_order_acq_rel) != 1) return;
    free(binary->path);
    free(binary->root);
    free(binary);
}

/* ---- Opening the very file ---- */

static int is_vdso(const si__binary *binary) {
    return strcmp(binary->path, "[vdso]") == 0;
}

static int64_t modified_ns(const struct stat *st) {
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static int is_file_seen(const si__binary *binary, const struct stat *st) {
    return st->st_dev == binary->file.device && st->st_ino == binary->file.inode &&
           (uint64_t)st->st_size == binary->file.bytes && modified_ns(st) == binary->file.modified_ns;
}

/* Is the file at its path the one that is mapped? Stacked file systems (overlay, btrfs) show maps and stat different
   devices, and overlays different inodes too: a different device proves nothing, while the same device with another
   inode is another file. */
static int is_file_mapped(const si__binary *binary, const struct stat *st) {
    if (binary->deleted) return 0;
    return st->st_ino == binary->inode || st->st_dev != binary->device;
}

/* Opens one candidate; `trusted`: the kernel vouches that it is the mapped file. */
static int open_candidate(const si__binary *binary, const char *path, int trusted) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? SI_EIO : SI_ENOTFOUND;
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        int seen_before = binary->file.inode != 0;
        if (seen_before ? is_file_seen(binary, &st) : trusted || is_file_mapped(binary, &st)) return fd;
    }
    close(fd);
    return SI_ENOTFOUND;
}

/* "/proc/PID" of the process that root belongs to. */
static void process_dir(const si__binary *binary, char *out, size_t out_bytes) {
    size_t length = strlen(binary->root);
    if (length > 5 && strcmp(binary->root + length - 5, "/root") == 0)
        snprintf(out, out_bytes, "%.*s", (int)(length - 5), binary->root);
    else
        snprintf(out, out_bytes, "/proc/self");
}

/* /proc/PID/exe is the mapped file when its inode says so, or when it names the same deleted path. */
static int open_executable(const si__binary *binary, const char *link) {
    char target[PATH_BYTES];
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n < 0) return SI_ENOTFOUND;
    target[n] = 0;
    size_t length = strlen(binary->path);
    int same = strncmp(target, binary->path, length) == 0 &&
               (target[length] == 0 || strcmp(target + length, " (deleted)") == 0);
    return open_candidate(binary, link, same);
}

int si__binary_open(const si__binary *binary) {
    char path[PATH_BYTES], process[PATH_BYTES / 2];
    if (binary->path[0] != '/') return SI_ENOTFOUND;
    snprintf(path, sizeof path, "%s%s", binary->root, binary->path);
    int fd = binary->deleted ? SI_ENOTFOUND : open_candidate(binary, path, 0);
    if (fd != SI_ENOTFOUND) return fd;
    process_dir(binary, process, sizeof process);
    snprintf(path, sizeof path, "%s/map_files/%llx-%llx", process, (unsigned long long)binary->map_start,
             (unsigned long long)binary->map_end);
    fd = open_candidate(binary, path, 1);
    if (fd != SI_ENOTFOUND) return fd;
    snprintf(path, sizeof path, "%s/exe", process);
    fd = open_executable(binary, path);
    if (fd != SI_ENOTFOUND || binary->file.inode == 0) return fd;
    return open_candidate(binary, binary->path, 0); /* the process is gone; only the file seen before will do */
}

const void *si__vdso_image(size_t *length) {
    const Elf64_Ehdr *header = (const void *)getauxval(AT_SYSINFO_EHDR);
    if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return NULL;
    *length = header->e_shoff + (size_t)header->e_shnum * header->e_shentsize;
    return header;
}

/* ---- Making ---- */

/* The trampoline is in libc, in a program without one (static), or in the vdso: only these are searched. */
static int may_hold_sigreturn(const si__binary *binary) {
    return strncmp(binary->name, "libc.", 5) == 0 || strncmp(binary->name, "libc-", 5) == 0 ||
           strncmp(binary->name, "ld-musl", 7) == 0 || strncmp(binary->name, "libpthread", 10) == 0;
}

static int is_dynamic(const si__elf_source *source) {
    Elf64_Ehdr header;
    if (!si__elf_source_read(source, 0, &header, sizeof header)) return 1;
    for (unsigned i = 0; i < header.e_phnum && i < 128; i++) {
        Elf64_Phdr p;
        if (!si__elf_source_read(source, header.e_phoff + i * sizeof p, &p, sizeof p)) return 1;
        if (p.p_type == PT_DYNAMIC) return 1;
    }
    return 0;
}

static void inspect(si__binary *binary) {
    si__elf_source source = {.fd = -1};
    if (is_vdso(binary)) {
        source.image = si__vdso_image(&source.image_bytes);
        if (!source.image) return;
        si__elf_build_id(&source, binary->build_id, sizeof binary->build_id);
        binary->sigreturn_offset = si__elf_sigreturn(&source);
        return;
    }
    source.fd = si__binary_open(binary);
    if (source.fd < 0) return;
    struct stat st;
    if (fstat(source.fd, &st) == 0) {
        binary->file.device = st.st_dev;
        binary->file.inode = st.st_ino;
        binary->file.bytes = (uint64_t)st.st_size;
        binary->file.modified_ns = modified_ns(&st);
    }
    si__elf_build_id(&source, binary->build_id, sizeof binary->build_id);
    if (may_hold_sigreturn(binary) || !is_dynamic(&source)) binary->sigreturn_offset = si__elf_sigreturn(&source);
    close(source.fd);
}

static si__binary *binary_new(const si__module *module, const char *root) {
    static _Atomic uint64_t serials;
    si__binary *binary = calloc(1, sizeof *binary);
    if (!binary) return NULL;
    atomic_init(&binary->references, 1);
    binary->serial = atomic_fetch_add_explicit(&serials, 1, memory_order_relaxed) + 1;
    binary->device = module->device;
    binary->inode = module->inode;
    binary->map_start = module->start;
    binary->map_end = module->end;
    binary->map_offset = module->file_offset;
    binary->sigreturn_offset = UINT64_MAX;
    binary->deleted = module->deleted;
    binary->path = strdup(module->path);
    binary->root = strdup(root);
    if (!binary->path || !binary->root) {
        si__binary_release(binary);
        return NULL;
    }
    const char *slash = strrchr(binary->path, '/');
    binary->name = slash && slash[1] ? slash + 1 : binary->path;
    inspect(binary);
    return binary;
}

/* ---- The table ---- */

si__binaries *si__binaries_new(void) {
    si__binaries *binaries = calloc(1, sizeof *binaries);
    if (!binaries) return NULL;
    pthread_mutex_init(&binaries->lock, NULL);
    binaries->trim_at = 256;
    return binaries;
}

void si__binaries_free(si__binaries *binaries) {
    if (!binaries) return;
    for (size_t i = 0; i < binaries->count; i++) si__binary_release(binaries->items[i]);
    pthread_mutex_destroy(&binaries->lock);
    free(binaries->items);
    free(binaries);
}

static int is_same(const si__binary *binary, const si__module *module, const char *root) {
    return binary->inode == module->inode && binary->device == module->device && binary->deleted == module->deleted &&
           strcmp(binary->path, module->path) == 0 && strcmp(binary->root, root) == 0;
}

static si__binary *find(const si__binaries *binaries, const si__module *module, const char *root) {
    for (size_t i = binaries->count; i-- > 0;) /* the newest first */
        if (is_same(binaries->items[i], module, root)) return binaries->items[i];
    return NULL;
}

/* 0: the file was written anew since, at the same path and with the same inode (inodes are used again). */
static int is_current(const si__binary *binary) {
    char path[PATH_BYTES];
    struct stat st;
    if (binary->file.inode == 0 || binary->deleted) return 1;
    snprintf(path, sizeof path, "%s%s", binary->root, binary->path);
    if (stat(path, &st) || st.st_dev != binary->file.device || st.st_ino != binary->file.inode) return 1;
    return is_file_seen(binary, &st);
}

static void trim_locked(si__binaries *binaries) {
    size_t kept = 0;
    for (size_t i = 0; i < binaries->count; i++) {
        si__binary *binary = binaries->items[i];
        if (atomic_load_explicit(&binary->references, memory_order_acquire) == 1)
            si__binary_release(binary);
        else
            binaries->items[kept++] = binary;
    }
    binaries->count = kept;
    binaries->trim_at = kept * 2 > 256 ? kept * 2 : 256;
}

/* Keeps a new binary with a reference of the table's own. */
static int insert_locked(si__binaries *binaries, si__binary *binary) {
    if (binaries->count >= binaries->trim_at) trim_locked(binaries);
    if (binaries->count >= BINARIES_MAX) return SI_ELIMIT;
    if (binaries->count == binaries->capacity) {
        size_t capacity = binaries->capacity * 2 + 16;
        si__binary **items = realloc(binaries->items, capacity * sizeof(si__binary *));
        if (!items) return SI_ENOMEM;
        binaries->items = items;
        binaries->capacity = capacity;
    }
    si__binary_retain(binary);
    binaries->items[binaries->count++] = binary;
    return 0;
}

si__binary *si__binaries_intern(si__binaries *binaries, const si__module *module, const char *root) {
    if (!module->path || (module->path[0] != '/' && strcmp(module->path, "[vdso]") != 0)) return NULL;
    pthread_mutex_lock(&binaries->lock);
    si__binary *known = find(binaries, module, root);
    if (known) si__binary_retain(known);
    pthread_mutex_unlock(&binaries->lock);
    if (known && is_current(known)) return known;
    si__binary_release(known);

    si__binary *binary = binary_new(module, root); /* reads the file: not under the lock */
    if (!binary) return NULL;
    pthread_mutex_lock(&binaries->lock);
    si__binary *first = find(binaries, module, root);
    if (first == known) first = NULL; /* outdated */
    int failed = first ? 0 : insert_locked(binaries, binary);
    if (first) si__binary_retain(first);
    pthread_mutex_unlock(&binaries->lock);
    if (!first && !failed) return binary;
    si__binary_release(binary);
    return first; /* NULL when it could not be kept */
}

void si__binaries_trim(si__binaries *binaries) {
    pthread_mutex_lock(&binaries->lock);
    trim_locked(binaries);
    pthread_mutex_unlock(&binaries->lock);
}

size_t si__binaries_count(si__binaries *binaries) {
    pthread_mutex_lock(&binaries->lock);
    size_t count = binaries->count;
    pthread_mutex_unlock(&binaries->lock);
    return count;
}
