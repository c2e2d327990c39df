/* What of the command stays in memory: see resident.h. Loop thread. */
#include "resident.h"

#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    FIRST_MS = 2000, /* most was touched by the start */
    PERIOD_MS = 5000,
    GROWN_PAGES = 256, /* 1 MiB: less is not worth the page faults */
    ARENAS = 2,        /* the loop's and the worker's */
    LARGE_BYTES = 64 * 1024
};

void si__resident_setup(void) {
    mallopt(M_ARENA_MAX, ARENAS);
    /* Fixed: left alone, both grow to the largest buffer that was ever freed. */
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    mallopt(M_TRIM_THRESHOLD, 2 * LARGE_BYTES);
}

/* 0: not known. */
static long resident_pages(void) {
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0) return 0;
    text[length] = '\0';
    char *end;
    strtol(text, &end, 10); /* all that is mapped */
    return strtol(end, NULL, 10);
}

static void *at(uintptr_t address) {
    return (void *)address; // NOLINT(performance-no-int-to-ptr)
}

/* Whether the linker wrote into what is mapped read-only. */
static int has_text_relocations(const struct dl_phdr_info *module) {
    for (int i = 0; i < module->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &module->dlpi_phdr[i];
        if (part->p_type != PT_DYNAMIC) continue;
        const ElfW(Dyn) *d = at(module->dlpi_addr + part->p_vaddr);
        for (; d->d_tag != DT_NULL; d++)
            if (d->d_tag == DT_TEXTREL || (d->d_tag == DT_FLAGS && (d->d_un.d_val & DF_TEXTREL))) return 1;
    }
    return 0;
}

/* Code and constants of a module are as in its file: what is needed again comes from the page cache. */
static int let_go_of(struct dl_phdr_info *module, size_t bytes, void *arg) {
    (void)bytes;
    const uintptr_t page = *(const uintptr_t *)arg;
    if (has_text_relocations(module)) return 0;
    for (int i = 0; i < module->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &module->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || (part->p_flags & PF_W)) continue;
        uintptr_t start = (module->dlpi_addr + part->p_vaddr) & ~(page - 1);
        uintptr_t end = (module->dlpi_addr + part->p_vaddr + part->p_filesz + page - 1) & ~(page - 1);
        madvise(at(start), end - start, MADV_DONTNEED);
    }
    return 0;
}

static void on_timer(uv_timer_t *timer) {
    si__resident *r = timer->data;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    long now = resident_pages();
    if (now < r->rest_pages) r->rest_pages = now;
    if (now - r->rest_pages < GROWN_PAGES) return;
    si__agent_let_go(r->agent);
    malloc_trim(0);
    dl_iterate_phdr(let_go_of, &page);
    r->rest_pages = resident_pages();
}

void si__resident_start(si__resident *r, uv_loop_t *loop, si__agent *agent) {
    r->agent = agent;
    uv_timer_init(loop, &r->timer);
    r->timer.data = r;
    uv_timer_start(&r->timer, on_timer, FIRST_MS, PERIOD_MS);
    uv_unref((uv_handle_t *)&r->timer);
}

void si__resident_end(si__resident *r) {
    uv_close((uv_handle_t *)&r->timer, NULL);
}
