/*
 * The walker and the publisher beyond plain stacks: flags, generated code, signals, threads, other processes, a full
 * arena, and an arena or a stack that was damaged. Frame-for-frame comparison with libgcc over real libraries is in
 * unwind_stack_test.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "../../collectors/native/unwind_table.h"
#include "unwind_reference.h"

static struct {
    si__region *region;
    int fd;
    si__unwind_cache *cache;
    uint64_t lo, hi; /* main thread's stack */
} test;

typedef struct stack {
    uint64_t pcs[SI__FRAMES_MAX];
    unsigned count, flags;
} stack;

static __attribute__((noinline)) void walk_region(si__region *region, stack *s) {
    si__regs regs;
    si__regs_here(&regs);
    s->flags = 0;
    s->count = si__unwind(region, NULL, &regs, test.lo, test.hi, s->pcs, SI__FRAMES_MAX, &s->flags);
}

/* Does any frame lie in the function that starts at `function`? */
static int passes_through(const stack *s, const void *function) {
    for (unsigned i = 0; i < s->count; i++)
        if (_Unwind_FindEnclosingFunction((void *)(uintptr_t)s->pcs[i]) == function) return 1;
    return 0;
}

static int setup(void **state) {
    (void)state;
    int error, rows;
    size_t unavailable;
    test.region = si__region_create(&test.fd, &error);
    test.cache = si__unwind_cache_new();
    if (!test.region || !test.cache) return -1;
    main_stack_bounds(&test.lo, &test.hi);
    publish_self(test.cache, test.region, &rows, &unavailable);
    return rows < 4 || unavailable != 0;
}

static int teardown(void **state) {
    (void)state;
    si__unwind_forget(test.cache, test.region);
    si__unwind_cache_free(test.cache);
    si__region_unmap(test.region);
    close(test.fd);
    return 0;
}

/* ---- Flags ---- */

static void says_when_the_stack_is_not_known(void **state) {
    (void)state;
    si__regs regs;
    uint64_t pcs[4];
    unsigned flags = 0;
    si__regs_here(&regs);
    assert_int_equal(si__unwind(test.region, NULL, &regs, 0, 0, pcs, 4, &flags), 1);
    assert_int_equal(flags, SI__STACK_OFF);
    assert_int_equal(pcs[0], regs.pc);
    flags = 0;
    assert_int_equal(si__unwind(test.region, NULL, &regs, regs.sp + 64, test.hi, pcs, 4, &flags), 1);
    assert_int_equal(flags, SI__STACK_OFF);
    flags = 0;
    assert_int_equal(si__unwind(test.region, NULL, &regs, test.lo, regs.sp, pcs, 4, &flags), 1);
    assert_int_equal(flags, SI__STACK_OFF);
}

static __attribute__((noinline)) unsigned recurse(unsigned depth, stack *s) {
    if (depth == 0) {
        walk_region(test.region, s);
        return 0;
    }
    unsigned below = recurse(depth - 1, s);
    __asm__ volatile("" : "+r"(below)); /* not a tail call */
    return below + 1;
}

static void says_when_the_stack_is_too_deep(void **state) {
    (void)state;
    stack s;
    recurse(20, &s);
    assert_int_equal(s.flags, 0);
    assert_true(s.count > 22 && s.count < SI__FRAMES_MAX);
    recurse(1000, &s);
    assert_int_equal(s.count, SI__FRAMES_MAX);
    assert_int_equal(s.flags, SI__STACK_TRUNCATED);
}

static void a_stack_that_just_fits_is_complete(void **state) {
    (void)state;
    si__regs regs;
    uint64_t pcs[SI__FRAMES_MAX];
    unsigned flags = 0;
    si__regs_here(&regs);
    unsigned count = si__unwind(test.region, NULL, &regs, test.lo, test.hi, pcs, SI__FRAMES_MAX, &flags);
    assert_int_equal(flags, 0);
    assert_int_equal(si__unwind(test.region, NULL, &regs, test.lo, test.hi, pcs, count, &flags), count);
    assert_int_equal(flags, 0);
    assert_int_equal(si__unwind(test.region, NULL, &regs, test.lo, test.hi, pcs, count - 1, &flags), count - 1);
    assert_int_equal(flags, SI__STACK_TRUNCATED);
}

static void *walk_in_thread(void *arg) {
    stack *s = arg;
    pthread_attr_t attr;
    void *base;
    size_t size;
    si__regs regs;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstack(&attr, &base, &size);
    pthread_attr_destroy(&attr);
    si__regs_here(&regs);
    uint64_t lo = (uint64_t)(uintptr_t)base;
    s->flags = 0;
    s->count = si__unwind(test.region, NULL, &regs, lo, lo + size, s->pcs, SI__FRAMES_MAX, &s->flags);
    return NULL;
}

static void a_threads_stack_ends_cleanly(void **state) {
    (void)state;
    stack s;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, walk_in_thread, &s), 0);
    pthread_join(thread, NULL);
    assert_int_equal(s.flags, 0);
    assert_true(s.count >= 3 && passes_through(&s, (void *)(uintptr_t)&walk_in_thread));
}

/* ---- Generated code ---- */

static stack generated_stack;
static void from_generated_code(void) {
    walk_region(test.region, &generated_stack);
}

static void walks_through_generated_code_by_frame_pointer(void **state) {
    (void)state;
    static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5,
                                         0xff, 0xd7, 0x5d, 0xc3}; /* push rbp; mov rsp, rbp; call rdi; pop rbp; ret */
    unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(page != MAP_FAILED);
    memcpy(page, code, sizeof(code));
    assert_int_equal(mprotect(page, 4096, PROT_READ | PROT_EXEC), 0);
    void (*run)(void (*)(void));
    *(void **)&run = page;
    uint32_t wanted = atomic_load(&test.region->modules_wanted);

    for (unsigned round = 0; round < 3; round++) {
        run(from_generated_code);
        assert_int_equal(generated_stack.flags, 0);
        int found = 0;
        for (unsigned i = 0; i < generated_stack.count; i++)
            found |= generated_stack.pcs[i] == (uint64_t)(uintptr_t)(page + 6);
        assert_true(found);
        assert_true(
            passes_through(&generated_stack, (void *)(uintptr_t)&walks_through_generated_code_by_frame_pointer));
        /* asks for a new list of modules once, and not again after it was told */
        assert_int_equal(atomic_load(&test.region->modules_wanted), wanted + 1);
        if (round == 1) {
            int rows;
            size_t unavailable;
            publish_self(test.cache, test.region, &rows, &unavailable);
            assert_int_equal(unavailable, 0);
        }
    }
    munmap(page, 4096);
}

/* ---- Signals ---- */

static stack signal_stack;
static sigjmp_buf after_crash;

static void on_crash(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    si__regs regs;
    si__regs_from_ucontext(&regs, context);
    signal_stack.flags = 0;
    signal_stack.count =
        si__unwind(test.region, NULL, &regs, test.lo, test.hi, signal_stack.pcs, SI__FRAMES_MAX, &signal_stack.flags);
    siglongjmp(after_crash, 1);
}

static void finds_who_called_a_null_pointer(void **state) {
    (void)state;
    struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO}, old;
    void (*volatile nothing)(void) = NULL;
    sigaction(SIGSEGV, &action, &old);
    if (!sigsetjmp(after_crash, 1)) nothing();
    sigaction(SIGSEGV, &old, NULL);
    assert_int_equal(signal_stack.pcs[0], 0);
    assert_int_equal(signal_stack.flags, 0);
    assert_true(passes_through(&signal_stack, (void *)(uintptr_t)&finds_who_called_a_null_pointer));
}

static void on_signal(int number) {
    (void)number;
    walk_region(test.region, &signal_stack);
    __asm__ volatile(""); /* not a tail call */
}

static void walks_out_of_an_alternate_stack(void **state) {
    (void)state;
    char alternate[64 * 1024]; /* above the frames that the signal interrupts: sp goes down once */
    stack_t use = {.ss_sp = alternate, .ss_size = sizeof(alternate)}, old_stack;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK}, old;
    assert_int_equal(sigaltstack(&use, &old_stack), 0);
    sigaction(SIGUSR1, &action, &old);
    raise(SIGUSR1);
    sigaction(SIGUSR1, &old, NULL);
    sigaltstack(&old_stack, NULL);
    assert_int_equal(signal_stack.flags, 0);
    assert_true(passes_through(&signal_stack, (void *)(uintptr_t)&on_signal));
    assert_true(passes_through(&signal_stack, (void *)(uintptr_t)&walks_out_of_an_alternate_stack));
}

/* ---- Publishing ---- */

enum { CHURN = 150, WALKERS = 2 };

typedef struct walker {
    unsigned index;
    atomic_uint walks, wrong;
    atomic_int *stop;
    uint64_t lo, hi;
    stack expected;
} walker;

static __thread walker *me;

static int walk_repeatedly(const void *a, const void *b) {
    (void)a, (void)b;
    si__slot *slot = si__region_slot(test.region, me->index);
    while (!atomic_load(me->stop)) {
        stack s = {.flags = 0};
        si__regs regs;
        si__regs_here(&regs);
        s.count = si__unwind(test.region, slot, &regs, me->lo, me->hi, s.pcs, SI__FRAMES_MAX, &s.flags);
        if (!me->expected.count) me->expected = s;
        if (s.flags || s.count != me->expected.count || memcmp(s.pcs, me->expected.pcs, s.count * sizeof(*s.pcs)))
            atomic_fetch_add(&me->wrong, 1);
        atomic_fetch_add(&me->walks, 1);
    }
    return 0;
}

static void *walker_thread(void *arg) {
    int v[2] = {1, 2};
    pthread_attr_t attr;
    void *base;
    size_t size;
    me = arg;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstack(&attr, &base, &size);
    pthread_attr_destroy(&attr);
    me->lo = (uint64_t)(uintptr_t)base;
    me->hi = me->lo + size;
    qsort(v, 2, sizeof(*v), walk_repeatedly);
    return NULL;
}

static uint64_t root_bytes_from_start(void) {
    const si__unwind_arena *arena = (const void *)((const char *)test.region + test.region->unwind_off);
    return (atomic_load(&arena->root) & 0xffffffffu) * SI__ARENA_UNIT;
}

static void walks_stay_right_while_libraries_come_and_go(void **state) {
    (void)state;
    walker walkers[WALKERS];
    pthread_t threads[WALKERS];
    atomic_int stop = 0;
    memset(walkers, 0, sizeof(walkers));
    atomic_store(&test.region->slots_used, WALKERS);
    for (unsigned i = 0; i < WALKERS; i++) {
        walkers[i].index = i;
        walkers[i].stop = &stop;
        assert_int_equal(pthread_create(&threads[i], NULL, walker_thread, &walkers[i]), 0);
    }
    uint64_t highest = 0;
    for (unsigned i = 0; i < CHURN; i++) {
        int rows;
        size_t unavailable;
        void *lib = dlopen("libz.so.1", RTLD_NOW);
        assert_non_null(lib);
        publish_self(test.cache, test.region, &rows, &unavailable);
        assert_int_equal(unavailable, 0);
        dlclose(lib);
        publish_self(test.cache, test.region, &rows, &unavailable);
        if (root_bytes_from_start() > highest) highest = root_bytes_from_start();
    }
    for (unsigned i = 0; i < WALKERS; i++)
        while (atomic_load(&walkers[i].walks) < 100) sched_yield();
    atomic_store(&stop, 1);
    for (unsigned i = 0; i < WALKERS; i++) pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < WALKERS; i++) {
        assert_int_equal(atomic_load(&walkers[i].wrong), 0);
        assert_true(walkers[i].expected.count >= 5);
        assert_int_equal(atomic_load(&si__region_slot(test.region, i)->unwind_epoch), 0);
    }
    assert_true(highest < 8 * 1024 * 1024); /* 300 roots alone would be 20 MiB */
    atomic_store(&test.region->slots_used, 0);
}

static void what_a_walk_uses_is_not_reclaimed(void **state) {
    (void)state;
    const si__unwind_arena *arena = (const void *)((const char *)test.region + test.region->unwind_off);
    si__slot *slot = si__region_slot(test.region, 0);
    int rows;
    size_t unavailable;
    uint64_t root = atomic_load(&arena->root), offset = (root & 0xffffffffu) * SI__ARENA_UNIT;
    const char *old_root = (const char *)arena + offset;
    char before[256];
    memcpy(before, old_root, sizeof(before));
    atomic_store(&test.region->slots_used, 1);
    atomic_store(&slot->unwind_epoch, (uint32_t)(root >> 32)); /* a walk that takes its time */
    for (unsigned i = 0; i < 20; i++) publish_self(test.cache, test.region, &rows, &unavailable);
    assert_memory_equal(before, old_root, sizeof(before));
    assert_true(root_bytes_from_start() != offset);
    atomic_store(&slot->unwind_epoch, 0);
    for (unsigned i = 0; i < 3; i++) publish_self(test.cache, test.region, &rows, &unavailable);
    assert_true(root_bytes_from_start() <= offset + 0x40000); /* everything between was given back */
    atomic_store(&test.region->slots_used, 0);
}

static void another_process_can_publish(void **state) {
    (void)state;
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        char root[64];
        int error;
        si__module_list list;
        size_t unavailable = 99;
        snprintf(root, sizeof(root), "/proc/%d/root", (int)parent);
        si__region *region = si__region_map(test.fd, &error);
        si__unwind_cache *cache = si__unwind_cache_new();
        if (!region || !cache || si__module_list_read(parent, &list)) _exit(1);
        int rows = si__unwind_publish(cache, region, list.items, list.count, root, &unavailable);
        _exit(rows >= 4 && unavailable == 0 ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    stack s;
    recurse(5, &s);
    assert_int_equal(s.flags, 0);
    assert_true(s.count > 7);
    int rows; /* our own publisher notices that the arena changed hands */
    size_t unavailable;
    publish_self(test.cache, test.region, &rows, &unavailable);
    assert_int_equal(unavailable, 0);
    recurse(5, &s);
    assert_int_equal(s.flags, 0);
}

/* A library whose file was deleted after it was loaded, as an upgrade does. */
static void deleted_files_still_have_rows(void **state) {
    (void)state;
    Dl_info info;
    char path[] = "/tmp/si-unwind-XXXXXX";
    static char bytes[4 * 1024 * 1024];
    void *lib = dlopen("libz.so.1", RTLD_NOW);
    assert_non_null(lib);
    assert_true(dladdr(dlsym(lib, "deflate"), &info) != 0);
    int in = open(info.dli_fname, O_RDONLY | O_CLOEXEC), out = mkstemp(path);
    assert_true(in >= 0 && out >= 0);
    ssize_t n = read(in, bytes, sizeof(bytes));
    assert_true(n > 0 && write(out, bytes, (size_t)n) == n);
    close(in);
    close(out);
    dlclose(lib);
    lib = dlopen(path, RTLD_NOW);
    unlink(path);
    assert_non_null(lib);
    int rows;
    size_t unavailable;
    publish_self(test.cache, test.region, &rows, &unavailable);
    assert_int_equal(unavailable, 0);
    dlclose(lib);
    publish_self(test.cache, test.region, &rows, &unavailable);
}

/* ---- A full arena ---- */

/* A file with `rows` rows of unwind information, and little else. */
static void write_big_file(const char *path, uint32_t rows) {
    static const unsigned char cie[] = {20, 0,    0,  0, 0,    0,    0, 0, 1,    'z', 'R', 0,
                                        1,  0x78, 16, 1, 0x03, 0x0c, 7, 8, 0x90, 1,   0,   0};
    static const char names[] = "\0.eh_frame\0.shstrtab";
    enum { TEXT = 0x10000 };
    size_t code = rows * 3ul, frame = sizeof(cie) + 17 + code + 4, at = 0x1000;
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    Elf64_Ehdr h = {.e_type = ET_DYN,
                    .e_machine = EM_X86_64,
                    .e_version = 1,
                    .e_phoff = 0x100,
                    .e_shoff = 0x200,
                    .e_ehsize = sizeof(h),
                    .e_phentsize = sizeof(Elf64_Phdr),
                    .e_phnum = 1,
                    .e_shentsize = sizeof(Elf64_Shdr),
                    .e_shnum = 3,
                    .e_shstrndx = 2};
    memcpy(h.e_ident, ELFMAG "\2\1\1", 7);
    Elf64_Phdr p = {.p_type = PT_LOAD,
                    .p_flags = PF_R | PF_X,
                    .p_offset = TEXT,
                    .p_vaddr = TEXT,
                    .p_filesz = rows + 64,
                    .p_memsz = rows + 64};
    Elf64_Shdr s[3] = {{0},
                       {.sh_name = 1,
                        .sh_type = SHT_PROGBITS,
                        .sh_flags = SHF_ALLOC,
                        .sh_addr = 0x8000000,
                        .sh_offset = at,
                        .sh_size = frame},
                       {.sh_name = 11, .sh_type = SHT_STRTAB, .sh_offset = 0x800, .sh_size = sizeof(names)}};
    fwrite(&h, sizeof(h), 1, f);
    fseek(f, 0x100, SEEK_SET);
    fwrite(&p, sizeof(p), 1, f);
    fseek(f, 0x200, SEEK_SET);
    fwrite(s, sizeof(s), 1, f);
    fseek(f, 0x800, SEEK_SET);
    fwrite(names, sizeof(names), 1, f);
    fseek(f, (long)at, SEEK_SET);
    fwrite(cie, sizeof(cie), 1, f);
    uint32_t head[4] = {(uint32_t)(13 + code), sizeof(cie) + 4, TEXT, rows + 8};
    fwrite(head, sizeof(head), 1, f);
    fwrite("", 1, 1, f);
    for (uint32_t i = 0; i < rows; i++) fwrite(i & 1 ? "\x41\x0e\x10" : "\x41\x0e\x18", 3, 1, f);
    fwrite("\0\0\0\0", 4, 1, f);
    assert_int_equal(fclose(f), 0);
}

enum { BIG_FILES = 6 };

static si__unwind_table *published_table(si__region *region, unsigned module) {
    si__unwind_arena *arena = (void *)((char *)region + region->unwind_off);
    si__unwind_root *root = (void *)((char *)arena + (atomic_load(&arena->root) & 0xffffffffu) * SI__ARENA_UNIT);
    assert_true(module < root->count);
    si__unwind_entry *entries = (void *)((uint64_t *)(void *)(root + 1) + root->count);
    return entries[module].table ? (void *)((char *)arena + entries[module].table * (size_t)SI__ARENA_UNIT) : NULL;
}

static void big_modules_lose_their_rows_first(void **state) {
    (void)state;
    static const uint32_t rows[BIG_FILES] = {2400000, 1000, 2000000, 1600000, 1200000, 800000}; /* 72 MB of tables */
    char folder[] = "/tmp/si-unwind-XXXXXX";
    si__module modules[BIG_FILES];
    int fd, error;
    size_t unavailable;
    si__region *region = si__region_create(&fd, &error);
    assert_non_null(region);
    assert_non_null(mkdtemp(folder));
    memset(modules, 0, sizeof(modules));
    for (unsigned i = 0; i < BIG_FILES; i++) {
        char path[128];
        struct stat st;
        snprintf(path, sizeof(path), "%s/%u.so", folder, i);
        write_big_file(path, rows[i]);
        assert_int_equal(stat(path, &st), 0);
        modules[i] = (si__module){.start = 0x10000000ull * (i + 1),
                                  .end = 0x10000000ull * (i + 1) + 0x1000000,
                                  .file_offset = 0x10000,
                                  .inode = st.st_ino,
                                  .path = strdup(path)};
    }
    assert_int_equal(si__unwind_publish(test.cache, region, modules, BIG_FILES, "", &unavailable), BIG_FILES - 1);
    assert_int_equal(unavailable, 1);
    assert_null(published_table(region, 0));
    for (unsigned i = 1; i < BIG_FILES; i++) {
        si__unwind_table *t = published_table(region, i);
        si__table_view view;
        assert_non_null(t);
        assert_true(si__table_view_init(&view, t, t->bytes));
        assert_int_equal(si__rule_cfa(si__table_lookup(&view, 0x10000 + 100)), 16);
        assert_int_equal(si__rule_cfa(si__table_lookup(&view, 0x10000 + 101)), 24);
    }
    /* Without one of the others there is room for all, at once. */
    si__module fewer[BIG_FILES - 1];
    memcpy(fewer, modules, 2 * sizeof(*modules));
    memcpy(fewer + 2, modules + 3, (BIG_FILES - 3) * sizeof(*modules));
    assert_int_equal(si__unwind_publish(test.cache, region, fewer, BIG_FILES - 1, "", &unavailable), BIG_FILES - 1);
    assert_int_equal(unavailable, 0);
    assert_non_null(published_table(region, 0));
    for (unsigned i = 0; i < BIG_FILES; i++) {
        unlink(modules[i].path);
        free(modules[i].path);
    }
    rmdir(folder);
    si__unwind_forget(test.cache, region);
    si__region_unmap(region);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_when_the_stack_is_not_known),
        cmocka_unit_test(says_when_the_stack_is_too_deep),
        cmocka_unit_test(a_stack_that_just_fits_is_complete),
        cmocka_unit_test(a_threads_stack_ends_cleanly),
        cmocka_unit_test(walks_through_generated_code_by_frame_pointer),
        cmocka_unit_test(finds_who_called_a_null_pointer),
        cmocka_unit_test(walks_out_of_an_alternate_stack),
        cmocka_unit_test(walks_stay_right_while_libraries_come_and_go),
        cmocka_unit_test(what_a_walk_uses_is_not_reclaimed),
        cmocka_unit_test(another_process_can_publish),
        cmocka_unit_test(deleted_files_still_have_rows),
        cmocka_unit_test(big_modules_lose_their_rows_first),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
