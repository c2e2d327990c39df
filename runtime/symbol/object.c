/*
 * Opening what a binary's names and lines are read from. Called by the symbolizer on the worker thread.
 *
 * Debug files are only taken when they prove to belong to the binary: by equal build ids, or by the checksum in
 * .gnu_debuglink.
 */
#include "object.h"

#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "elf_note.h"
#include "si/si.h"

enum { PATH_BYTES = 8192 };

Elf_Data *si__elf_section(Elf *elf, const char *name, uint64_t *address) {
    size_t names;
    if (elf_getshdrstrndx(elf, &names)) return NULL;
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section)) != NULL;) {
        GElf_Shdr header;
        if (!gelf_getshdr(section, &header) || header.sh_type == SHT_NOBITS) continue;
        const char *found = elf_strptr(elf, names, header.sh_name);
        if (!found || strcmp(found, name) != 0) continue;
        Elf_Data *data = elf_rawdata(section, NULL);
        if (address) *address = header.sh_addr;
        return data && data->d_buf ? data : NULL;
    }
    return NULL;
}

static int has_debug_info(Elf *elf) {
    return si__elf_section(elf, ".debug_info", NULL) || si__elf_section(elf, ".zdebug_info", NULL);
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

static int open_proven(si__image *image, const char *path, const expectation *wanted) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) return 0;
    int proven = wanted->build_id[0] ? has_build_id(fd, wanted->build_id)
                                     : wanted->has_checksum && has_checksum(fd, wanted->checksum);
    int opened = proven && si__image_open(image, fd) == 0;
    close(fd);
    return opened;
}

/* A section that holds a file name and something behind it. */
static const char *link_section(Elf *elf, const char *name, size_t *name_bytes, size_t *bytes) {
    Elf_Data *data = si__elf_section(elf, name, NULL);
    if (!data || data->d_size < 8) return NULL;
    *name_bytes = strnlen(data->d_buf, data->d_size);
    *bytes = data->d_size;
    return *name_bytes > 0 && *name_bytes < data->d_size && *name_bytes < 1024 ? data->d_buf : NULL;
}

/* .gnu_debuglink: a file name, padded to four bytes, and its checksum. */
static const char *debug_link(Elf *elf, uint32_t *checksum) {
    size_t length, bytes;
    const char *name = link_section(elf, ".gnu_debuglink", &length, &bytes);
    size_t at = name ? (length + 4) & ~(size_t)3 : 0;
    if (!name || at + 4 > bytes || strchr(name, '/')) return NULL;
    memcpy(checksum, name + at, 4);
    return name;
}

/* Looks for the debug file at its usual places below `root`; path (PATH_BYTES) is where it was. */
static int find_below(si__object *object, const si__binary *binary, const char *root, const char *link,
                      const expectation *wanted, char *path) {
    if (strlen(binary->build_id) > 4) {
        snprintf(path, PATH_BYTES, "%s/usr/lib/debug/.build-id/%.2s/%s.debug", root, binary->build_id,
                 binary->build_id + 2);
        if (open_proven(&object->debug, path, wanted)) return 1;
    }
    if (!link || binary->path[0] != '/') return 0;
    static const struct { const char *before, *behind; } places[] = {{"", ""}, {"", ".debug/"}, {"/usr/lib/debug", ""}};
    int dir = (int)(binary->name - binary->path); /* with its slash */
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int n = snprintf(path, PATH_BYTES, "%s%s%.*s%s%s", root, places[i].before, dir, binary->path, places[i].behind,
                         link);
        if (n < PATH_BYTES && open_proven(&object->debug, path, wanted)) return 1;
    }
    return 0;
}

static int find_debug_file(si__object *object, const si__binary *binary, char *path) {
    expectation wanted = {.build_id = binary->build_id};
    const char *link = debug_link(object->elf, &wanted.checksum);
    wanted.has_checksum = link != NULL;
    if (find_below(object, binary, binary->root, link, &wanted, path)) return 1;
    /* The host may have what a container lacks. */
    return binary->root[0] && find_below(object, binary, "", link, &wanted, path);
}

/* .gnu_debugaltlink: a file name, relative to the debug file's, and the build id. dwz moves there what files share. */
static void find_alt_file(si__object *object, Elf *elf, char *path) {
    size_t length, bytes;
    const char *name = link_section(elf, ".gnu_debugaltlink", &length, &bytes);
    if (!name || bytes - length - 1 > SI__BUILD_ID_HEX / 2) return;
    char build_id[SI__BUILD_ID_HEX] = "", whole[PATH_BYTES];
    for (size_t i = 0; i + length + 1 < bytes; i++)
        snprintf(build_id + 2 * i, 3, "%02x", (unsigned char)name[length + 1 + i]);
    expectation wanted = {.build_id = build_id};
    char *slash = strrchr(path, '/');
    int dir = slash ? (int)(slash + 1 - path) : 0;
    int n = snprintf(whole, sizeof whole, "%.*s%s", name[0] == '/' ? 0 : dir, path, name);
    if (build_id[0] && n < PATH_BYTES) (void)open_proven(&object->alt, whole, &wanted);
}

/* ---- Open and close ---- */

static void begin_dwarf(si__object *object) {
    Elf *elf = object->debug.elf ? object->debug.elf : object->elf;
    object->dwarf = dwarf_begin_elf(elf, DWARF_C_READ, NULL);
    if (!object->dwarf || !object->alt.elf) return;
    object->alt_dwarf = dwarf_begin_elf(object->alt.elf, DWARF_C_READ, NULL);
    dwarf_setalt(object->dwarf, object->alt_dwarf);
}

static void end_dwarf(si__object *object) {
    dwarf_end(object->dwarf);
    dwarf_end(object->alt_dwarf);
    object->dwarf = object->alt_dwarf = NULL;
}

void si__object_renew(si__object *object) {
    if (!object->dwarf) return;
    end_dwarf(object);
    begin_dwarf(object);
}

int si__object_open(si__object *object, const si__binary *binary) {
    char path[PATH_BYTES];
    *object = (si__object){0};
    elf_version(EV_CURRENT);
    if (strcmp(binary->path, "[vdso]") == 0) {
        size_t length;
        void *image = (void *)(uintptr_t)si__vdso_image(&length);
        object->elf = image ? elf_memory(image, length) : NULL;
        return object->elf ? 0 : SI_ENOTFOUND;
    }
    int fd = si__binary_open(binary);
    if (fd < 0) return fd;
    int result = si__image_open(&object->image, fd);
    close(fd);
    if (result) return result;
    object->elf = object->image.elf;
    if (has_debug_info(object->elf)) {
        snprintf(path, sizeof path, "%s%s", binary->root, binary->path);
        find_alt_file(object, object->elf, path);
        begin_dwarf(object);
    } else if (find_debug_file(object, binary, path) && has_debug_info(object->debug.elf)) {
        find_alt_file(object, object->debug.elf, path);
        begin_dwarf(object);
    }
    return 0;
}

void si__object_close(si__object *object) {
    end_dwarf(object);
    si__image_close(&object->alt);
    si__image_close(&object->debug);
    if (object->elf != object->image.elf) elf_end(object->elf); /* the vdso's */
    si__image_close(&object->image);
    *object = (si__object){0};
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
