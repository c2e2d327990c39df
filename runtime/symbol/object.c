/*
 * Opening what a binary's names and lines are read from. Called by the symbolizer on the worker thread.
 *
 * Small files are read into memory, so that one that is cut short under our hands cannot raise SIGBUS in the host;
 * large ones are mapped, because a copy of their debug information would weigh on the host. Debug files are only taken
 * when they prove to belong to the binary: by equal build ids, or by the checksum in .gnu_debuglink.
 */
#include "object.h"

#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "elf_note.h"
#include "si/si.h"

enum { READ_LIMIT = 16 * 1024 * 1024, PATH_BYTES = 8192 };

static Elf *begin(int fd) {
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) return NULL;
    Elf *elf = elf_begin(fd, st.st_size <= READ_LIMIT ? ELF_C_READ : ELF_C_READ_MMAP, NULL);
    if (elf && elf_kind(elf) == ELF_K_ELF && gelf_getclass(elf) == ELFCLASS64) return elf;
    elf_end(elf);
    return NULL;
}

Elf_Data *si__object_section(const si__object *object, const char *name, uint64_t *address) {
    size_t names;
    if (elf_getshdrstrndx(object->elf, &names)) return NULL;
    for (Elf_Scn *section = NULL; (section = elf_nextscn(object->elf, section)) != NULL;) {
        GElf_Shdr header;
        if (!gelf_getshdr(section, &header) || header.sh_type == SHT_NOBITS) continue;
        const char *found = elf_strptr(object->elf, names, header.sh_name);
        if (!found || strcmp(found, name) != 0) continue;
        Elf_Data *data = elf_rawdata(section, NULL);
        if (address) *address = header.sh_addr;
        return data && data->d_buf ? data : NULL;
    }
    return NULL;
}

static int has_debug_info(Elf *elf) {
    si__object object = {.elf = elf};
    return si__object_section(&object, ".debug_info", NULL) || si__object_section(&object, ".zdebug_info", NULL);
}

/* ---- Separate debug files ---- */

static int has_build_id(int fd, const char *build_id) {
    si__elf_source source = {.fd = fd};
    char found[SI__BUILD_ID_HEX];
    return si__elf_build_id(&source, found, sizeof found) && strcmp(found, build_id) == 0;
}

static int has_checksum(int fd, uint32_t wanted) {
    static const size_t bytes = 64 * 1024;
    unsigned char *buffer = malloc(bytes);
    uLong checksum = crc32(0, NULL, 0);
    ssize_t n = -1;
    for (off_t at = 0; buffer && (n = pread(fd, buffer, bytes, at)) > 0; at += n)
        checksum = crc32(checksum, buffer, (uInt)n);
    free(buffer);
    return n == 0 && checksum == wanted;
}

/* What a debug file must be like to be believed. */
typedef struct expectation {
    const char *build_id; /* "" : go by the checksum */
    int has_checksum;
    uint32_t checksum;
} expectation;

static int try_debug_file(si__object *object, const char *path, const expectation *wanted) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) return 0;
    int proven = wanted->build_id[0] ? has_build_id(fd, wanted->build_id)
                                     : wanted->has_checksum && has_checksum(fd, wanted->checksum);
    Elf *elf = proven ? begin(fd) : NULL;
    if (!elf) {
        close(fd);
        return 0;
    }
    object->debug_fd = fd;
    object->debug_elf = elf;
    return 1;
}

/* .gnu_debuglink: a file name, padded to four bytes, and its checksum. */
static const char *debug_link(const si__object *object, uint32_t *checksum) {
    Elf_Data *data = si__object_section(object, ".gnu_debuglink", NULL);
    if (!data || data->d_size < 8) return NULL;
    const char *name = data->d_buf;
    size_t length = strnlen(name, data->d_size), at = (length + 4) & ~(size_t)3;
    if (length == 0 || length > 255 || at + 4 > data->d_size || strchr(name, '/')) return NULL;
    memcpy(checksum, name + at, 4);
    return name;
}

/* Looks for the debug file at its usual places below `root`. */
static int find_below(si__object *object, const si__binary *binary, const char *root, const char *link,
                      const expectation *wanted) {
    char path[PATH_BYTES];
    if (strlen(binary->build_id) > 4) {
        snprintf(path, sizeof path, "%s/usr/lib/debug/.build-id/%.2s/%s.debug", root, binary->build_id,
                 binary->build_id + 2);
        if (try_debug_file(object, path, wanted)) return 1;
    }
    if (!link || binary->path[0] != '/') return 0;
    int dir = (int)(binary->name - binary->path); /* with its slash */
    static const char *const places[] = {"%s%.*s%s", "%s%.*s.debug/%s", "%s/usr/lib/debug%.*s%s"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        int n = snprintf(path, sizeof path, places[i], root, dir, binary->path, link);
#pragma GCC diagnostic pop
        if (n < (int)sizeof path && try_debug_file(object, path, wanted)) return 1;
    }
    return 0;
}

static void find_debug_file(si__object *object, const si__binary *binary) {
    expectation wanted = {.build_id = binary->build_id};
    const char *link = debug_link(object, &wanted.checksum);
    wanted.has_checksum = link != NULL;
    if (find_below(object, binary, binary->root, link, &wanted) || binary->root[0] == 0) return;
    (void)find_below(object, binary, "", link, &wanted); /* the host may have what a container lacks */
}

/* ---- Open and close ---- */

int si__object_open(si__object *object, const si__binary *binary) {
    *object = (si__object){.fd = -1, .debug_fd = -1};
    elf_version(EV_CURRENT);
    if (strcmp(binary->path, "[vdso]") == 0) {
        size_t length;
        void *image = (void *)(uintptr_t)si__vdso_image(&length);
        object->elf = image ? elf_memory(image, length) : NULL;
        return object->elf ? 0 : SI_ENOTFOUND;
    }
    object->fd = si__binary_open(binary);
    if (object->fd < 0) return object->fd;
    object->elf = begin(object->fd);
    if (!object->elf) {
        si__object_close(object);
        return SI_ENOTFOUND;
    }
    int own = has_debug_info(object->elf);
    if (!own) find_debug_file(object, binary);
    if (own || (object->debug_elf && has_debug_info(object->debug_elf)))
        object->dwarf = dwarf_begin_elf(own ? object->elf : object->debug_elf, DWARF_C_READ, NULL);
    return 0;
}

void si__object_close(si__object *object) {
    dwarf_end(object->dwarf);
    elf_end(object->debug_elf);
    elf_end(object->elf);
    if (object->fd >= 0) close(object->fd);
    if (object->debug_fd >= 0) close(object->debug_fd);
    *object = (si__object){.fd = -1, .debug_fd = -1};
}

int si__object_address(const si__object *object, uint64_t offset, uint64_t *address) {
    size_t count;
    if (elf_getphdrnum(object->elf, &count)) return 0;
    for (size_t i = 0; i < count && i < 4096; i++) {
        GElf_Phdr header; /* code only: other segments may share a page with it */
        if (!gelf_getphdr(object->elf, (int)i, &header) || header.p_type != PT_LOAD || !(header.p_flags & PF_X))
            continue;
        if (offset < header.p_offset || offset - header.p_offset >= header.p_filesz) continue;
        *address = offset - header.p_offset + header.p_vaddr;
        return 1;
    }
    return 0;
}
