/* Looks at a program file before it is started. Hostile files: every offset is checked against what was read. */
#include "program.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD_BYTES = 4096, MAX_HOPS = 4 };
#define FILE_BYTES_MAX (4ull << 30) /* of a program that is looked into */

/* The path that execvp would start; `out` holds PATH_MAX-like bytes. 0: not found. */
static int find(const char *name, char *out, size_t out_bytes) {
    if (strchr(name, '/')) {
        snprintf(out, out_bytes, "%s", name);
        return access(out, F_OK) == 0;
    }
    const char *path = getenv("PATH");
    if (!path) path = "/bin:/usr/bin";
    while (*path) {
        size_t length = strcspn(path, ":");
        snprintf(out, out_bytes, "%.*s/%s", (int)length, length ? path : ".", name);
        if (access(out, X_OK) == 0) return 1;
        path += length;
        if (*path) path++;
    }
    return 0;
}

static int has_interpreter(const unsigned char *head, size_t length) {
    Elf64_Ehdr ehdr;
    memcpy(&ehdr, head, sizeof ehdr);
    for (size_t i = 0; i < ehdr.e_phnum; i++) {
        Elf64_Phdr phdr;
        uint64_t at = ehdr.e_phoff + i * sizeof phdr;
        if (at > length || length - at < sizeof phdr) return 1; /* beyond what we read: do not judge */
        memcpy(&phdr, head + at, sizeof phdr);
        if (phdr.p_type == PT_INTERP) return 1;
    }
    return 0;
}

/* ---- Sanitizers ---- */

typedef struct program_file {
    const unsigned char *bytes;
    uint64_t size;
    Elf64_Ehdr head;
} program_file;

/* Copies program header i. 0: it has none. */
static int part_at(const program_file *file, size_t i, Elf64_Phdr *out) {
    uint64_t at = file->head.e_phoff + i * sizeof *out;
    if (i >= file->head.e_phnum || at < file->head.e_phoff || at > file->size || file->size - at < sizeof *out)
        return 0;
    memcpy(out, file->bytes + at, sizeof *out);
    return 1;
}

/* The file's bytes [*at, *at + *bytes) of what is loaded at `address`. 0: not in the file. */
static int loaded_at(const program_file *file, uint64_t address, uint64_t bytes, uint64_t *at) {
    Elf64_Phdr part;
    for (size_t i = 0; part_at(file, i, &part); i++) {
        if (part.p_type != PT_LOAD || address < part.p_vaddr || address - part.p_vaddr > part.p_filesz) continue;
        uint64_t inside = address - part.p_vaddr;
        if (bytes > part.p_filesz - inside || part.p_offset > file->size || inside > file->size - part.p_offset ||
            bytes > file->size - part.p_offset - inside)
            return 0;
        *at = part.p_offset + inside;
        return 1;
    }
    return 0;
}

/* The names that the program needs, imports and exports. 0: none. */
static int names_of(const program_file *file, const char **names, uint64_t *bytes) {
    Elf64_Phdr part;
    uint64_t address = 0, at = 0;
    for (size_t i = 0; part_at(file, i, &part); i++) {
        if (part.p_type != PT_DYNAMIC || part.p_offset > file->size) continue;
        Elf64_Dyn entry;
        uint64_t rest = file->size - part.p_offset;
        if (rest > part.p_filesz) rest = part.p_filesz;
        for (uint64_t done = 0; rest - done >= sizeof entry; done += sizeof entry) {
            memcpy(&entry, file->bytes + part.p_offset + done, sizeof entry);
            if (entry.d_tag == DT_NULL) break;
            if (entry.d_tag == DT_STRTAB) address = entry.d_un.d_ptr;
            if (entry.d_tag == DT_STRSZ) *bytes = entry.d_un.d_val;
        }
    }
    if (!address || !*bytes || !loaded_at(file, address, *bytes, &at)) return 0;
    *names = (const char *)file->bytes + at;
    return 1;
}

/* What runs before everything else in such a program, and takes it badly when somebody else does. */
static const char *sanitizer_in(const char *names, uint64_t bytes) {
    static const struct {
        const char *symbol, *name;
    } known[] = {{"__asan_init", "AddressSanitizer"}, {"__tsan_init", "ThreadSanitizer"},
                 {"__msan_init", "MemorySanitizer"},  {"__hwasan_init", "HWAddressSanitizer"},
                 {"libasan.so", "AddressSanitizer"},  {"libtsan.so", "ThreadSanitizer"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (memmem(names, bytes, known[i].symbol, strlen(known[i].symbol))) return known[i].name;
    return NULL;
}

static const char *sanitizer_of(const char *path) {
    const char *names = NULL, *found = NULL;
    uint64_t bytes = 0;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return NULL;
    program_file file = {.size = 0};
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > (off_t)sizeof file.head &&
        (uint64_t)st.st_size < FILE_BYTES_MAX)
        file.size = (uint64_t)st.st_size;
    void *at = file.size ? mmap(NULL, file.size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    close(fd);
    if (at == MAP_FAILED) return NULL;
    file.bytes = at;
    memcpy(&file.head, file.bytes, sizeof file.head);
    if (names_of(&file, &names, &bytes)) found = sanitizer_in(names, bytes);
    munmap(at, file.size);
    return found;
}

/* ---- The judgement ---- */

static si__preload judge_elf(const char *path, const unsigned char *head, size_t length, char *reason,
                             size_t reason_bytes) {
    if (head[EI_CLASS] != ELFCLASS64) {
        snprintf(reason, reason_bytes, "%s is a 32-bit program", path);
        return SI__PRELOAD_NO;
    }
    if (!has_interpreter(head, length)) {
        snprintf(reason, reason_bytes, "%s is statically linked", path);
        return SI__PRELOAD_CHILDREN;
    }
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & (S_ISUID | S_ISGID)) && geteuid() != 0 && st.st_uid != geteuid()) {
        snprintf(reason, reason_bytes, "%s is setuid or setgid", path);
        return SI__PRELOAD_NO;
    }
    const char *sanitizer = sanitizer_of(path);
    if (sanitizer) {
        snprintf(reason, reason_bytes, "%s is built with %s, which does not let itself be preceded", path, sanitizer);
        return SI__PRELOAD_NO;
    }
    return SI__PRELOAD_YES;
}

si__preload si__program_can_preload(const char *name, char *reason, size_t reason_bytes) {
    char path[4096], next[256];
    if (!find(name, path, sizeof path)) return SI__PRELOAD_YES; /* exec will say it better */
    for (int hop = 0; hop < MAX_HOPS; hop++) {
        _Alignas(8) unsigned char head[HEAD_BYTES];
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0) return SI__PRELOAD_YES;
        ssize_t length = read(fd, head, sizeof head - 1);
        close(fd);
        if (length < (ssize_t)sizeof(Elf64_Ehdr) && !(length > 2 && head[0] == '#')) return SI__PRELOAD_YES;
        if (memcmp(head, ELFMAG, SELFMAG) == 0) return judge_elf(path, head, (size_t)length, reason, reason_bytes);
        if (head[0] != '#' || head[1] != '!') return SI__PRELOAD_YES;
        head[length] = '\0';
        if (sscanf((const char *)head + 2, " %255[^ \t\n]", next) != 1) return SI__PRELOAD_YES;
        snprintf(path, sizeof path, "%s", next);
    }
    return SI__PRELOAD_YES;
}
