/* Looks at a program file before it is started. Hostile files: every offset is checked against what was read. */
#include "program.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD_BYTES = 4096, MAX_HOPS = 4 };

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

static int judge_elf(const char *path, const unsigned char *head, size_t length, char *reason, size_t reason_bytes) {
    if (head[EI_CLASS] != ELFCLASS64) {
        snprintf(reason, reason_bytes, "%s is a 32-bit program", path);
        return 0;
    }
    if (!has_interpreter(head, length)) {
        snprintf(reason, reason_bytes, "%s is statically linked", path);
        return 0;
    }
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & (S_ISUID | S_ISGID)) && geteuid() != 0 && st.st_uid != geteuid()) {
        snprintf(reason, reason_bytes, "%s is setuid or setgid", path);
        return 0;
    }
    return 1;
}

int si__program_can_preload(const char *name, char *reason, size_t reason_bytes) {
    char path[4096], next[256];
    if (!find(name, path, sizeof path)) return 1; /* exec will say it better */
    for (int hop = 0; hop < MAX_HOPS; hop++) {
        _Alignas(8) unsigned char head[HEAD_BYTES];
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0) return 1;
        ssize_t length = read(fd, head, sizeof head - 1);
        close(fd);
        if (length < (ssize_t)sizeof(Elf64_Ehdr) && !(length > 2 && head[0] == '#')) return 1;
        if (memcmp(head, ELFMAG, SELFMAG) == 0) return judge_elf(path, head, (size_t)length, reason, reason_bytes);
        if (head[0] != '#' || head[1] != '!') return 1;
        head[length] = '\0';
        if (sscanf((const char *)head + 2, " %255[^ \t\n]", next) != 1) return 1;
        snprintf(path, sizeof path, "%s", next);
    }
    return 1;
}
