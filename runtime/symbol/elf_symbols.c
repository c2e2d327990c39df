/*
 * The walk over symbol tables. One pass over the symbols for a whole batch of addresses, no index is built, so a binary
 * with a million symbols costs time but no memory. Called by the symbolizer on the worker thread.
 */
#include "elf_symbols.h"

#include <string.h>

#include <gelf.h>

#include "demangle.h"

/* A rank orders candidates for one address; start addresses are compared before it. */
enum { RANK_SIZED = 1u << 24, RANK_FUNCTION = 1u << 23, RANK_PUBLIC = 1u << 22, RANK_PLAIN = 1u << 21 };

int si__symbol_rank_is_sized(uint32_t rank) {
    return (rank & RANK_SIZED) != 0;
}

static uint32_t rank_of(const GElf_Sym *symbol, const char *name) {
    uint32_t rank = symbol->st_size ? RANK_SIZED : 0;
    if (GELF_ST_TYPE(symbol->st_info) != STT_NOTYPE) rank |= RANK_FUNCTION;
    if (GELF_ST_BIND(symbol->st_info) != STB_LOCAL) rank |= RANK_PUBLIC;
    size_t underscores = strspn(name, "_"), length = strnlen(name, SI__NAME_MAX);
    if (si__symbol_stem(name) == strcspn(name, "@")) rank |= RANK_PLAIN; /* no clone */
    rank |= (uint32_t)(underscores < 15 ? 15 - underscores : 0) << 16;   /* malloc before __libc_malloc */
    return rank | (uint32_t)(length < 0xffff ? 0xffff - length : 0);     /* then the shortest */
}

static int is_better(const si__query *query, uint64_t start, uint32_t rank, const char *name) {
    if (!query->symbol) return 1;
    if ((rank ^ query->symbol_rank) & RANK_SIZED) return (rank & RANK_SIZED) != 0;
    if (start != query->symbol_start) return start > query->symbol_start; /* the innermost */
    if (rank != query->symbol_rank) return rank > query->symbol_rank;
    return strcmp(name, query->symbol) < 0; /* the same answer in every build */
}

/* Is this a symbol that can name code? */
static int is_code(Elf *elf, const GElf_Sym *symbol) {
    int type = GELF_ST_TYPE(symbol->st_info);
    if (symbol->st_shndx == SHN_UNDEF || symbol->st_shndx >= SHN_LORESERVE) return 0;
    if (type == STT_FUNC || type == STT_GNU_IFUNC) return 1;
    if (type != STT_NOTYPE) return 0;
    GElf_Shdr header;
    Elf_Scn *section = elf_getscn(elf, symbol->st_shndx);
    return section && gelf_getshdr(section, &header) && (header.sh_flags & SHF_EXECINSTR);
}

typedef struct walk {
    Elf *elf;
    si__query *queries;
    size_t count;
    uint64_t budget; /* bounds what overlapping symbols of a hostile file cost */
} walk;

static void offer(walk *w, const GElf_Sym *symbol, size_t strings) {
    uint64_t start = symbol->st_value, end = start + symbol->st_size;
    const char *name = NULL;
    uint32_t rank = 0;
    for (size_t i = si__query_lower(w->queries, w->count, start); i < w->count; i++) {
        si__query *q = &w->queries[i];
        if (symbol->st_size ? q->address >= end : q->fde_start == q->fde_end || q->fde_start > start) break;
        if (w->budget == 0) return;
        w->budget--;
        if (!name) {
            if (!is_code(w->elf, symbol)) return;
            name = elf_strptr(w->elf, strings, symbol->st_name);
            if (!name || name[0] == 0 || name[0] == '.' || name[0] == '$') return; /* assembler's labels */
            rank = rank_of(symbol, name);
        }
        if (!is_better(q, start, rank, name)) continue;
        q->symbol = name;
        q->symbol_start = start;
        q->symbol_rank = rank;
    }
}

void si__elf_symbols(Elf *elf, si__query *queries, size_t count) {
    walk w = {elf, queries, count, 64 * (uint64_t)count + 65536};
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section)) != NULL;) {
        GElf_Shdr header;
        if (!gelf_getshdr(section, &header) || (header.sh_type != SHT_SYMTAB && header.sh_type != SHT_DYNSYM)) continue;
        Elf_Data *data = elf_getdata(section, NULL);
        size_t symbols = data && data->d_buf ? data->d_size / sizeof(Elf64_Sym) : 0;
        for (size_t i = 1; i < symbols && i <= INT32_MAX; i++) {
            GElf_Sym symbol;
            if (gelf_getsym(data, (int)i, &symbol)) offer(&w, &symbol, header.sh_link);
        }
    }
}

/* ---- PLT ---- */

enum { PLT_ENTRY_MAX = 16 };

/* The address of the GOT slot that the entry at `code` jumps through; 0: not of that form.
   x86-64: [endbr64] [bnd] jmp *disp(%rip). */
static uint64_t got_slot(const uint8_t *code, size_t length, uint64_t address) {
#if defined(__x86_64__)
    for (size_t i = 0; i + 6 <= length; i++) {
        if (code[i] != 0xff || code[i + 1] != 0x25) continue;
        int32_t displacement;
        memcpy(&displacement, code + i + 2, sizeof displacement);
        return address + i + 6 + (uint64_t)(int64_t)displacement;
    }
#elif defined(__aarch64__)
    uint32_t page, load;
    for (size_t i = 0; i + 8 <= length; i += 4) { /* adrp x16, page; ldr x17, [x16, #offset] */
        memcpy(&page, code + i, 4);
        memcpy(&load, code + i + 4, 4);
        if ((page & 0x9f00001f) != 0x90000010 || (load & 0xffc003ff) != 0xf9400211) continue;
        int64_t pages = (int64_t)((uint64_t)((page >> 5 & 0x7ffff) << 2 | (page >> 29 & 3)) << 43) >> 43;
        return ((address + i) & ~(uint64_t)0xfff) + (uint64_t)(pages * 4096) + (uint64_t)(load >> 10 & 0xfff) * 8;
    }
#endif
    (void)code, (void)length, (void)address;
    return 0;
}

/* The name of the symbol that the relocation of a GOT slot is for; NULL: none. */
static const char *relocated_name(Elf *elf, uint64_t slot) {
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section)) != NULL;) {
        GElf_Shdr header, symbols;
        if (!gelf_getshdr(section, &header) || header.sh_type != SHT_RELA) continue;
        Elf_Data *data = elf_getdata(section, NULL);
        Elf_Scn *symbol_section = elf_getscn(elf, header.sh_link);
        if (!data || !symbol_section || !gelf_getshdr(symbol_section, &symbols)) continue;
        for (int i = 0; (size_t)i < data->d_size / sizeof(Elf64_Rela); i++) {
            GElf_Rela rela;
            GElf_Sym symbol;
            if (!gelf_getrela(data, i, &rela) || rela.r_offset != slot) continue;
            Elf_Data *symbol_data = elf_getdata(symbol_section, NULL);
            if (!symbol_data || !gelf_getsym(symbol_data, (int)GELF_R_SYM(rela.r_info), &symbol)) return NULL;
            const char *name = elf_strptr(elf, symbols.sh_link, symbol.st_name);
            return name && *name ? name : NULL;
        }
    }
    return NULL;
}

/* Lazily bound entries beside a .plt.sec only push the number of their relocation: found by the same number there. */
static const char *numbered_name(Elf *elf, const uint8_t *code, size_t length) {
#if defined(__x86_64__)
    size_t i = length >= 9 && memcmp(code, "\xf3\x0f\x1e\xfa", 4) == 0 ? 4 : 0; /* endbr64 */
    uint32_t number;
    if (length < i + 5 || code[i] != 0x68) return NULL; /* push $number */
    memcpy(&number, code + i + 1, sizeof number);
    size_t names;
    if (elf_getshdrstrndx(elf, &names)) return NULL;
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section)) != NULL;) {
        GElf_Shdr header;
        GElf_Rela rela;
        if (!gelf_getshdr(section, &header) || header.sh_type != SHT_RELA) continue;
        const char *name = elf_strptr(elf, names, header.sh_name);
        if (!name || strcmp(name, ".rela.plt") != 0) continue;
        Elf_Data *data = elf_getdata(section, NULL);
        if (!data || number > INT32_MAX || !gelf_getrela(data, (int)number, &rela)) return NULL;
        return relocated_name(elf, rela.r_offset);
    }
#endif
    (void)elf, (void)code, (void)length;
    return NULL;
}

static void name_entries(Elf *elf, Elf_Scn *section, const GElf_Shdr *header, si__query *queries, size_t count) {
    uint64_t entry = header->sh_entsize == 8 ? 8 : PLT_ENTRY_MAX; /* .plt.got has short ones */
    Elf_Data *data = elf_rawdata(section, NULL);
    if (!data || !data->d_buf) return;
    for (size_t i = si__query_lower(queries, count, header->sh_addr); i < count; i++) {
        si__query *q = &queries[i];
        uint64_t at = (q->address - header->sh_addr) / entry * entry;
        if (q->address - header->sh_addr >= data->d_size) break;
        if (q->symbol) continue;
        const uint8_t *code = (const uint8_t *)data->d_buf + at;
        size_t length = data->d_size - at < entry ? data->d_size - at : entry;
        uint64_t slot = got_slot(code, length, header->sh_addr + at);
        q->symbol = slot ? relocated_name(elf, slot) : NULL;
        if (!q->symbol) q->symbol = numbered_name(elf, code, length);
        q->symbol_start = header->sh_addr + at;
        q->is_plt = q->symbol != NULL;
    }
}

void si__elf_plt(Elf *elf, si__query *queries, size_t count) {
    size_t names;
    if (elf_getshdrstrndx(elf, &names)) return;
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section)) != NULL;) {
        GElf_Shdr header;
        if (!gelf_getshdr(section, &header) || header.sh_type != SHT_PROGBITS) continue;
        const char *name = elf_strptr(elf, names, header.sh_name);
        if (name && strncmp(name, ".plt", 4) == 0) name_entries(elf, section, &header, queries, count);
    }
}
