/*
 * Finds unwind information in an ELF64 file, a copy of one in memory, or one mapped into a process, and compiles it.
 * Called on the runtime's worker thread, and by a fuzzer: nothing in the file is believed before it was checked. Files
 * are read, not mapped: one that is truncated meanwhile must not kill us.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "eh_frame.h"
#include "si/si.h"
#include "unwind_table.h"

enum {
    SECTION_BYTES_MAX = 256 * 1024 * 1024,
    NAMES_BYTES_MAX = 1024 * 1024,
    SEGMENTS_MAX = 1024,
    SECTIONS_MAX = 65536,
    HEADER_READ = 12 /* .eh_frame_hdr: version, three encodings, and the pointer to .eh_frame */
};

/* Where the bytes come from. */
typedef struct source {
    const unsigned char *image; /* NULL: from fd */
    int fd;
    int mapped;    /* laid out by address as linked, from `base` on, not by file offset */
    uint64_t base; /* added to every position */
    uint64_t size; /* UINT64_MAX: not known */
} source;

static int source_read(const source *s, uint64_t offset, void *out, size_t size) {
    if (offset > s->size || size > s->size - offset) return SI_EFORMAT;
    if (s->image) {
        memcpy(out, s->image + offset, size);
        return 0;
    }
    char *at = out;
    uint64_t pos = s->base + offset;
    if (pos > INT64_MAX - size) return SI_EFORMAT;
    while (size) {
        ssize_t n = pread(s->fd, at, size, (off_t)pos);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n ? SI_EIO : SI_EFORMAT;
        at += n;
        pos += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

/* Reads a block into memory of its own. */
static void *source_block(const source *s, uint64_t offset, uint64_t size, uint64_t max, int *error) {
    *error = SI_EFORMAT;
    if (!size || (s->size != UINT64_MAX && (offset > s->size || size > s->size - offset))) return NULL;
    *error = SI_ELIMIT;
    if (size > max) return NULL;
    void *out = malloc((size_t)size);
    *error = SI_ENOMEM;
    if (!out) return NULL;
    *error = source_read(s, offset, out, (size_t)size);
    if (!*error) return out;
    free(out);
    return NULL;
}

typedef struct elf {
    source from;
    Elf64_Ehdr header;
    Elf64_Phdr *segments;
    size_t segment_count;
    uint64_t link_base; /* mapped only: the lowest address as linked, rounded down to a page: what `base` stands for */
} elf;

static int elf_open(elf *e) {
    int rc = source_read(&e->from, 0, &e->header, sizeof(e->header));
    if (rc) return rc;
    const Elf64_Ehdr *h = &e->header;
    if (memcmp(h->e_ident, ELFMAG, SELFMAG) || h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB)
        return SI_EFORMAT;
    if (h->e_machine != SI__MACHINE_X86_64 && h->e_machine != SI__MACHINE_AARCH64) return SI_EFORMAT;
    if (h->e_phentsize != sizeof(Elf64_Phdr) || !h->e_phnum || h->e_phnum > SEGMENTS_MAX) return SI_EFORMAT;
    e->segment_count = h->e_phnum;
    e->segments = source_block(&e->from, h->e_phoff, e->segment_count * sizeof(Elf64_Phdr), UINT32_MAX, &rc);
    if (!e->segments) return rc;
    e->link_base = UINT64_MAX;
    for (size_t i = 0; i < e->segment_count; i++) {
        const Elf64_Phdr *p = &e->segments[i];
        if (p->p_type == PT_LOAD && p->p_vaddr < e->link_base) e->link_base = p->p_vaddr & ~4095ull;
    }
    return 0;
}

/* Where to read what is linked at `vaddr`, and how many bytes its segment holds from there on. */
static int elf_locate(const elf *e, uint64_t vaddr, uint64_t *where, uint64_t *room) {
    for (size_t i = 0; i < e->segment_count; i++) {
        const Elf64_Phdr *p = &e->segments[i];
        if (p->p_type != PT_LOAD || vaddr - p->p_vaddr >= p->p_filesz || vaddr < p->p_vaddr) continue;
        if (p->p_offset > INT64_MAX || p->p_filesz > INT64_MAX) return 0;
        *where = e->from.mapped ? vaddr - e->link_base : p->p_offset + (vaddr - p->p_vaddr);
        *room = p->p_filesz - (vaddr - p->p_vaddr);
        return 1;
    }
    return 0;
}

/* The .eh_frame section by name. SI_ENOTFOUND when the file has no (usable) section table. */
static int find_section(const elf *e, uint64_t *offset, uint64_t *vaddr, uint64_t *size) {
    const Elf64_Ehdr *h = &e->header;
    if (e->from.mapped || !h->e_shnum || h->e_shentsize != sizeof(Elf64_Shdr) || h->e_shstrndx >= h->e_shnum)
        return SI_ENOTFOUND;
    int rc;
    Elf64_Shdr *sections =
        source_block(&e->from, h->e_shoff, h->e_shnum * sizeof(Elf64_Shdr), SECTIONS_MAX * sizeof(Elf64_Shdr), &rc);
    if (!sections) return rc == SI_ENOMEM ? rc : SI_ENOTFOUND;
    const Elf64_Shdr *names = &sections[h->e_shstrndx];
    char *text = source_block(&e->from, names->sh_offset, names->sh_size, NAMES_BYTES_MAX, &rc);
    if (rc != SI_ENOMEM) rc = SI_ENOTFOUND;
    static const char wanted[] = ".eh_frame";
    for (size_t i = 0; text && i < h->e_shnum && rc; i++) {
        const Elf64_Shdr *s = &sections[i];
        if (s->sh_name > names->sh_size || names->sh_size - s->sh_name < sizeof(wanted)) continue;
        if (s->sh_type == SHT_NOBITS || !(s->sh_flags & SHF_ALLOC) || memcmp(text + s->sh_name, wanted, sizeof(wanted)))
            continue;
        *offset = s->sh_offset;
        *vaddr = s->sh_addr;
        *size = s->sh_size;
        rc = 0;
    }
    free(text);
    free(sections);
    return rc;
}

/* Through PT_GNU_EH_FRAME, for files without section headers and for mapped ones: up to the end of the segment, the
   section's own terminator tells where it ends. */
static int find_by_segment(const elf *e, uint64_t *offset, uint64_t *vaddr, uint64_t *size) {
    for (size_t i = 0; i < e->segment_count; i++) {
        const Elf64_Phdr *p = &e->segments[i];
        if (p->p_type != PT_GNU_EH_FRAME) continue;
        unsigned char bytes[HEADER_READ];
        uint64_t where, room, pointer;
        size_t pos = 4;
        if (!elf_locate(e, p->p_vaddr, &where, &room) || room < sizeof(bytes)) return SI_EFORMAT;
        int rc = source_read(&e->from, where, bytes, sizeof(bytes));
        if (rc) return rc;
        if (bytes[0] != 1 || !si__eh_pointer(bytes, sizeof(bytes), &pos, bytes[1], p->p_vaddr, &pointer))
            return SI_EFORMAT;
        if (!elf_locate(e, pointer, offset, size)) return SI_EFORMAT;
        *vaddr = pointer;
        if (*size > SECTION_BYTES_MAX) *size = SECTION_BYTES_MAX;
        return 0;
    }
    return SI_ENOTFOUND;
}

static si__text_range *text_ranges(const elf *e, size_t *count) {
    si__text_range *out = calloc(e->segment_count, sizeof(*out));
    *count = 0;
    for (size_t i = 0; out && i < e->segment_count; i++) {
        const Elf64_Phdr *p = &e->segments[i];
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_X) || p->p_offset > INT64_MAX || p->p_filesz > INT64_MAX)
            continue;
        out[(*count)++] = (si__text_range){.vaddr = p->p_vaddr, .offset = p->p_offset, .size = p->p_filesz};
    }
    return out;
}

static int compile_section(const elf *e, const unsigned char *bytes, size_t size, uint64_t vaddr,
                           si__unwind_table **out) {
    size_t text_count;
    int rc = SI_ENOMEM;
    si__text_range *text = text_ranges(e, &text_count);
    si__table_builder *builder = si__table_builder_new(e->header.e_machine);
    if (text && builder) {
        si__eh_frame section = {.bytes = bytes,
                                .size = size,
                                .vaddr = vaddr,
                                .machine = e->header.e_machine,
                                .text = text,
                                .text_count = text_count};
        rc = si__eh_frame_compile(&section, builder);
        if (!rc) *out = si__table_finish(builder, &rc);
    }
    si__table_builder_free(builder);
    free(text);
    return rc;
}

static int compile(const source *from, si__unwind_table **out) {
    *out = NULL;
    elf e = {.from = *from};
    uint64_t offset = 0, vaddr = 0, size = 0;
    int rc = elf_open(&e);
    if (!rc) rc = find_section(&e, &offset, &vaddr, &size);
    if (rc == SI_ENOTFOUND) rc = find_by_segment(&e, &offset, &vaddr, &size);
    if (!rc) {
        unsigned char *bytes = source_block(&e.from, offset, size, SECTION_BYTES_MAX, &rc);
        if (bytes) rc = compile_section(&e, bytes, (size_t)size, vaddr, out);
        free(bytes);
    }
    free(e.segments);
    return rc;
}

int si__unwind_compile_fd(int fd, si__unwind_table **out) {
    struct stat st;
    *out = NULL;
    if (fstat(fd, &st)) return SI_EIO;
    if (!S_ISREG(st.st_mode)) return SI_EFORMAT;
    return compile(&(source){.fd = fd, .size = (uint64_t)st.st_size}, out);
}

int si__unwind_compile_memory(const void *image, size_t size, si__unwind_table **out) {
    return compile(&(source){.image = image, .fd = -1, .size = size}, out);
}

int si__unwind_compile_mapped(int mem_fd, uint64_t base, si__unwind_table **out) {
    return compile(&(source){.fd = mem_fd, .mapped = 1, .base = base, .size = UINT64_MAX}, out);
}
