/* Dynamic sections of loaded modules: see dynamic.h. Only loads, no allocation. */
#include "dynamic.h"

#include <string.h>

/* The dynamic linker relocates these addresses in place for ordinary modules, not for the vdso. */
static uintptr_t address_in(const struct dl_phdr_info *info, Elf64_Addr value) {
    return value < info->dlpi_addr ? info->dlpi_addr + value : value;
}

static void read_headers(const struct dl_phdr_info *info, si__dynamic *out) {
    out->base = info->dlpi_addr;
    out->low = UINTPTR_MAX;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const Elf64_Phdr *header = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + header->p_vaddr, end = start + header->p_memsz;
        if (header->p_type == PT_DYNAMIC) out->entries = (const void *)start;
        if (header->p_type == PT_GNU_RELRO) {
            out->relro_start = start;
            out->relro_end = end;
        }
        if (header->p_type != PT_LOAD) continue;
        if (start < out->low) out->low = start;
        if (end > out->high) out->high = end;
    }
}

int si__dynamic_read(const struct dl_phdr_info *info, si__dynamic *out) {
    memset(out, 0, sizeof *out);
    read_headers(info, out);
    int rela = 1;
    for (const Elf64_Dyn *dynamic = out->entries; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
        uintptr_t at = address_in(info, dynamic->d_un.d_ptr);
        switch (dynamic->d_tag) {
        case DT_SYMTAB:
            out->symbols = (const void *)at;
            break;
        case DT_STRTAB:
            out->strings = (const void *)at;
            break;
        case DT_GNU_HASH:
            out->gnu_hash = (const void *)at;
            break;
        case DT_HASH:
            out->sysv_hash = (const void *)at;
            break;
        case DT_VERSYM:
            out->versions = (const void *)at;
            break;
        case DT_JMPREL:
            out->jump = at;
            break;
        case DT_PLTRELSZ:
            out->jump_bytes = dynamic->d_un.d_val;
            break;
        case DT_RELA:
            out->plain = at;
            break;
        case DT_RELASZ:
            out->plain_bytes = dynamic->d_un.d_val;
            break;
        case DT_PLTREL:
            rela = dynamic->d_un.d_val == DT_RELA;
            break;
        default:
            break;
        }
    }
    return out->symbols && out->strings && rela ? 0 : -1;
}

/* ---- Functions by name ---- */

static uintptr_t function_at(const si__dynamic *module, uint32_t index, const char *name, int *hidden) {
    const Elf64_Sym *symbol = &module->symbols[index];
    if (symbol->st_shndx == SHN_UNDEF || symbol->st_value == 0) return 0;
    if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || ELF64_ST_BIND(symbol->st_info) == STB_LOCAL) return 0;
    if (strcmp(module->strings + symbol->st_name, name) != 0) return 0;
    *hidden = module->versions && (module->versions[index] & 0x8000);
    return module->base + symbol->st_value;
}

static uintptr_t by_gnu_hash(const si__dynamic *module, const char *name) {
    const uint32_t *table = module->gnu_hash;
    uint32_t bucket_count = table[0], first = table[1], bloom_count = table[2], shift = table[3];
    const uint64_t *bloom = (const void *)(table + 4);
    const uint32_t *buckets = (const void *)(bloom + bloom_count), *chain = buckets + bucket_count;
    if (bucket_count == 0 || bloom_count == 0) return 0;
    uint32_t hash = 5381;
    for (const char *at = name; *at; at++) hash = hash * 33 + (unsigned char)*at;
    uint64_t word = bloom[(hash / 64) % bloom_count], mask = 1ull << (hash % 64) | 1ull << ((hash >> shift) % 64);
    uint32_t index = buckets[hash % bucket_count];
    if ((word & mask) != mask || index < first) return 0;
    uintptr_t found = 0;
    for (;; index++) {
        uint32_t linked = chain[index - first];
        int hidden = 0;
        uintptr_t here = (linked | 1) == (hash | 1) ? function_at(module, index, name, &hidden) : 0;
        if (here && !hidden) return here;
        if (here && !found) found = here;
        if (linked & 1) return found;
    }
}

static uintptr_t by_sysv_hash(const si__dynamic *module, const char *name) {
    uint32_t bucket_count = module->sysv_hash[0];
    const uint32_t *buckets = module->sysv_hash + 2, *chain = buckets + bucket_count;
    uint32_t hash = 0;
    for (const char *at = name; *at; at++) {
        hash = (hash << 4) + (unsigned char)*at;
        hash = (hash ^ (hash >> 24 & 0xf0)) & 0x0fffffff;
    }
    uintptr_t found = 0;
    for (uint32_t index = bucket_count ? buckets[hash % bucket_count] : 0; index; index = chain[index]) {
        int hidden = 0;
        uintptr_t here = function_at(module, index, name, &hidden);
        if (here && !hidden) return here;
        if (here && !found) found = here;
    }
    return found;
}

uintptr_t si__dynamic_function(const si__dynamic *module, const char *name) {
    if (module->gnu_hash) return by_gnu_hash(module, name);
    return module->sysv_hash ? by_sysv_hash(module, name) : 0;
}

const char *si__dynamic_soname(const si__dynamic *module) {
    for (const Elf64_Dyn *dynamic = module->entries; dynamic && dynamic->d_tag != DT_NULL; dynamic++)
        if (dynamic->d_tag == DT_SONAME) return module->strings + dynamic->d_un.d_val;
    return NULL;
}
