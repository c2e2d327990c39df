/* Images of ELF files. Called by object.c on the worker thread. The files may be hostile: every offset is checked. */
#include "image.h"

#include <elf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "elf_note.h"
#include "si/si.h"

enum { READ_LIMIT = 4 * 1024 * 1024, EXPANDED_LIMIT = 256 * 1024 * 1024, RATIO_LIMIT = 1100, PAGE = 4096 };

/* What si__dwarf_frames reads; location lists and macros, often the larger part, stay as they are. */
static int is_wanted(const char *name) {
    static const char *const wanted[] = {".debug_info",     ".debug_abbrev",      ".debug_str",      ".debug_line",
                                         ".debug_line_str", ".debug_ranges",      ".debug_rnglists", ".debug_aranges",
                                         ".debug_addr",     ".debug_str_offsets", ".symtab",         ".strtab"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (strcmp(name, wanted[i]) == 0) return 1;
    return 0;
}

static size_t rounded(uint64_t bytes) {
    return (size_t)((bytes + PAGE - 1) & ~(uint64_t)(PAGE - 1));
}

/* The file as it is being taken apart. */
typedef struct file {
    int fd;
    uint64_t bytes;
    Elf64_Ehdr header;
} file;

static int read_at(const file *f, uint64_t offset, void *out, size_t length) {
    si__elf_source source = {.fd = f->fd};
    return offset <= f->bytes && length <= f->bytes - offset && si__elf_source_read(&source, offset, out, length);
}

static int open_file(file *f, int fd) {
    struct stat st;
    *f = (file){.fd = fd};
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof f->header || st.st_size > INT32_MAX * 4ll)
        return 0;
    f->bytes = (uint64_t)st.st_size;
    return read_at(f, 0, &f->header, sizeof f->header) && memcmp(f->header.e_ident, ELFMAG, SELFMAG) == 0 &&
           f->header.e_ident[EI_CLASS] == ELFCLASS64 && f->header.e_ident[EI_DATA] == ELFDATA2LSB;
}

/* Bytes that a compressed section takes when expanded; 0: it is not compressed, or not to be believed. */
static uint64_t expanded_bytes(const file *f, const Elf64_Shdr *section) {
    Elf64_Chdr compressed;
    if (!(section->sh_flags & SHF_COMPRESSED) || section->sh_size < sizeof compressed) return 0;
    if (!read_at(f, section->sh_offset, &compressed, sizeof compressed)) return 0;
    if (compressed.ch_type != ELFCOMPRESS_ZLIB || compressed.ch_size > EXPANDED_LIMIT ||
        compressed.ch_size / RATIO_LIMIT > section->sh_size)
        return 0;
    return compressed.ch_size;
}

/* The section headers, malloc'ed, when there are compressed sections to be expanded; *total is what they take. */
static Elf64_Shdr *sections_to_expand(const file *f, size_t *total) {
    size_t count = f->header.e_shnum;
    *total = 0;
    if (count == 0 || f->header.e_shentsize != sizeof(Elf64_Shdr) || f->header.e_shoff % 8 != 0) return NULL;
    Elf64_Shdr *sections = malloc(count * sizeof *sections);
    if (sections && read_at(f, f->header.e_shoff, sections, count * sizeof *sections))
        for (size_t i = 0; i < count; i++) *total += (expanded_bytes(f, &sections[i]) + 15) & ~(uint64_t)15;
    if (*total > 0 && *total <= EXPANDED_LIMIT) return sections;
    free(sections);
    *total = 0;
    return NULL;
}

/* The whole file at the start of a mapping of f->bytes + extra bytes, all zero behind it. */
static uint8_t *load(const file *f, size_t extra, size_t *mapped) {
    *mapped = rounded(f->bytes) + rounded(extra);
    void *base = mmap(NULL, *mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return NULL;
    int loaded = f->bytes <= READ_LIMIT
                     ? read_at(f, 0, base, (size_t)f->bytes)
                     : mmap(base, (size_t)f->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, f->fd, 0) == base;
    if (loaded) return base;
    munmap(base, *mapped);
    return NULL;
}

static const char *section_name(const uint8_t *base, const file *f, const Elf64_Shdr *sections, const Elf64_Shdr *s) {
    if (f->header.e_shstrndx >= f->header.e_shnum) return "";
    const Elf64_Shdr *names = &sections[f->header.e_shstrndx];
    if (names->sh_offset > f->bytes || names->sh_size > f->bytes - names->sh_offset || s->sh_name >= names->sh_size)
        return "";
    const char *name = (const char *)base + names->sh_offset + s->sh_name;
    return memchr(name, 0, (size_t)(names->sh_size - s->sh_name)) ? name : "";
}

static int expand(const uint8_t *packed, size_t packed_bytes, uint8_t *out, size_t out_bytes) {
    uLongf length = out_bytes;
    return uncompress(out, &length, packed, packed_bytes) == Z_OK && length == out_bytes;
}

/* Expands what is wanted to the place behind the file and lets the section headers in the image point there. */
static void expand_sections(uint8_t *base, const file *f, const Elf64_Shdr *sections) {
    size_t at = rounded(f->bytes);
    for (size_t i = 0; i < f->header.e_shnum; i++) {
        Elf64_Shdr section = sections[i];
        if (!(section.sh_flags & SHF_COMPRESSED)) continue;
        size_t bytes = (size_t)expanded_bytes(f, &section);
        Elf64_Chdr compressed;
        int done = bytes > 0 && is_wanted(section_name(base, f, sections, &section)) &&
                   section.sh_size <= f->bytes - section.sh_offset &&
                   expand(base + section.sh_offset + sizeof compressed, (size_t)section.sh_size - sizeof compressed,
                          base + at, bytes);
        if (done) {
            memcpy(&compressed, base + section.sh_offset, sizeof compressed);
            section.sh_offset = at;
            section.sh_size = bytes;
            section.sh_addralign = compressed.ch_addralign;
            section.sh_flags &= ~(uint64_t)SHF_COMPRESSED;
            at += (bytes + 15) & ~(size_t)15;
        } else {
            section.sh_type = SHT_NULL; /* libdw shall not try either */
        }
        memcpy(base + f->header.e_shoff + i * sizeof section, &section, sizeof section);
    }
}

int si__image_open(si__image *image, int fd) {
    file f;
    size_t extra;
    *image = (si__image){0};
    elf_version(EV_CURRENT);
    if (!open_file(&f, fd)) return SI_ENOTFOUND;
    Elf64_Shdr *sections = sections_to_expand(&f, &extra);
    uint8_t *base = load(&f, extra, &image->bytes);
    if (base && sections) expand_sections(base, &f, sections);
    free(sections);
    if (!base) return SI_ENOMEM;
    image->base = base;
    image->elf = elf_memory((char *)base, extra ? image->bytes : (size_t)f.bytes);
    if (image->elf && elf_kind(image->elf) == ELF_K_ELF) return 0;
    si__image_close(image);
    return SI_ENOTFOUND;
}

void si__image_close(si__image *image) {
    elf_end(image->elf);
    if (image->base) munmap(image->base, image->bytes);
    *image = (si__image){0};
}
