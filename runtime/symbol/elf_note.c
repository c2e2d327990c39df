/*
 * The little that is read from an ELF file as soon as it is seen, by hand: bounded reads, nothing trusted. Called by
 * symbol/binary.c and the symbolizer on the worker thread.
 */
#include "elf_note.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PHDRS_MAX = 128,
    SECTIONS_MAX = 256,
    NOTE_BYTES_MAX = 64 * 1024,
    TEXT_BYTES_MAX = 64 * 1024 * 1024,
    CHUNK = 64 * 1024
};

int si__elf_source_read(const si__elf_source *source, uint64_t offset, void *out, size_t length) {
    if (source->image) {
        if (offset > source->image_bytes || length > source->image_bytes - offset) return 0;
        memcpy(out, source->image + offset, length);
        return 1;
    }
    for (size_t done = 0; done < length;) {
        if (offset + done > INT64_MAX) return 0;
        ssize_t n = pread(source->fd, (char *)out + done, length - done, (off_t)(offset + done));
        if (n <= 0) return 0;
        done += (size_t)n;
    }
    return 1;
}

/* Reads the program headers of a 64-bit file of our byte order. Returns their number. */
static unsigned program_headers(const si__elf_source *source, Elf64_Phdr *headers) {
    Elf64_Ehdr header;
    if (!si__elf_source_read(source, 0, &header, sizeof header)) return 0;
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_phentsize != sizeof *headers)
        return 0;
    unsigned count = header.e_phnum < PHDRS_MAX ? header.e_phnum : PHDRS_MAX;
    return si__elf_source_read(source, header.e_phoff, headers, count * sizeof *headers) ? count : 0;
}

static size_t put_hex(const uint8_t *bytes, size_t length, char *out, size_t out_bytes) {
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    for (size_t i = 0; i < length && at + 2 < out_bytes; i++) {
        out[at++] = digits[bytes[i] >> 4];
        out[at++] = digits[bytes[i] & 15];
    }
    out[at] = 0;
    return at;
}

static size_t padded(size_t bytes) {
    return (bytes + 3) & ~(size_t)3;
}

/* Finds the GNU build id among the notes. */
static size_t notes_build_id(const uint8_t *notes, size_t length, char *out, size_t out_bytes) {
    Elf64_Nhdr note;
    for (size_t at = 0; length - at >= sizeof note;) {
        memcpy(&note, notes + at, sizeof note);
        at += sizeof note;
        size_t name = padded(note.n_namesz), text = padded(note.n_descsz);
        if (name > length - at || text > length - at - name) break;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(notes + at, "GNU", 4) == 0 &&
            note.n_descsz > 0)
            return put_hex(notes + at + name, note.n_descsz, out, out_bytes);
        at += name + text;
    }
    return 0;
}

static size_t notes_at(const si__elf_source *source, uint64_t offset, uint64_t length, char *out, size_t out_bytes) {
    size_t found = 0;
    if (length == 0 || length > NOTE_BYTES_MAX) return 0;
    uint8_t *notes = malloc((size_t)length);
    if (notes && si__elf_source_read(source, offset, notes, (size_t)length))
        found = notes_build_id(notes, (size_t)length, out, out_bytes);
    free(notes);
    return found;
}

/* By section: files of debug information alone have no program headers. */
static size_t section_build_id(const si__elf_source *source, char *out, size_t out_bytes) {
    Elf64_Ehdr header;
    size_t found = 0;
    if (!si__elf_source_read(source, 0, &header, sizeof header) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_shentsize != sizeof(Elf64_Shdr))
        return 0;
    for (unsigned i = 0; i < header.e_shnum && i < SECTIONS_MAX && !found; i++) {
        Elf64_Shdr section;
        if (!si__elf_source_read(source, header.e_shoff + i * sizeof section, &section, sizeof section)) return 0;
        if (section.sh_type == SHT_NOTE) found = notes_at(source, section.sh_offset, section.sh_size, out, out_bytes);
    }
    return found;
}

size_t si__elf_build_id(const si__elf_source *source, char *out, size_t out_bytes) {
    Elf64_Phdr headers[PHDRS_MAX];
    unsigned count = program_headers(source, headers);
    size_t found = 0;
    out[0] = 0;
    for (unsigned i = 0; i < count && !found; i++)
        if (headers[i].p_type == PT_NOTE)
            found = notes_at(source, headers[i].p_offset, headers[i].p_filesz, out, out_bytes);
    return found ? found : section_build_id(source, out, out_bytes);
}

/* The instructions that the kernel's ABI prescribes: debuggers and unwinders know the trampoline by them too. */
#if defined(__x86_64__)
static const uint8_t trampoline[] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05}; /* mov $15,%rax; syscall */
#elif defined(__aarch64__)
static const uint8_t trampoline[] = {0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4}; /* mov x8,#139; svc #0 */
#else
static const uint8_t trampoline[] = {0};
#endif

static uint64_t find_in(const si__elf_source *source, uint64_t offset, uint64_t length) {
    uint8_t *buffer = malloc(CHUNK);
    uint64_t found = UINT64_MAX;
    for (uint64_t at = 0; buffer && at < length && found == UINT64_MAX;) {
        size_t n = length - at < CHUNK ? (size_t)(length - at) : (size_t)CHUNK;
        if (!si__elf_source_read(source, offset + at, buffer, n)) break;
        const uint8_t *hit = memmem(buffer, n, trampoline, sizeof trampoline);
        if (hit) found = offset + at + (uint64_t)(hit - buffer);
        if (n < CHUNK) break;
        at += n - sizeof trampoline; /* overlap: it may lie across two chunks */
    }
    free(buffer);
    return found;
}

uint64_t si__elf_sigreturn(const si__elf_source *source) {
    Elf64_Phdr headers[PHDRS_MAX] = {0};
    unsigned count = sizeof trampoline > 1 ? program_headers(source, headers) : 0;
    for (unsigned i = 0; i < count; i++) {
        const Elf64_Phdr *p = &headers[i];
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_X) || p->p_filesz > TEXT_BYTES_MAX) continue;
        uint64_t found = find_in(source, p->p_offset, p->p_filesz);
        if (found != UINT64_MAX) return found;
    }
    return UINT64_MAX;
}
