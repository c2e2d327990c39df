/*
 * Frame for frame against libgcc's unwinder over real libraries: in callbacks, and at every single instruction (by the
 * processor's trap flag) of real workloads, from the signal handler's context as the CPU sampler does it.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <ucontext.h>

#include "unwind_reference.h"
#include "unwind_workload.h"

#if defined(__SANITIZE_THREAD__)
#define STEPPING 0 /* its runtime does not bear a signal at every instruction */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define STEPPING 0
#endif
#endif
#ifndef STEPPING
#define STEPPING 1
#endif

enum {
    EVERY_INSTRUCTION = 20000, /* of a workload are compared; after these every SPARSE-th, */
    SPARSE = 61,
    STEPS_MAX = 60000, /* and no more than this: a trap costs some microseconds */
    SHOWN_MAX = 8
};

static struct {
    si__region *region;
    si__unwind_cache *cache;
    uint64_t stack_lo, stack_hi;
    uint64_t points, equal, blind, crashed, truncated, frames;
    unsigned shown;
    volatile sig_atomic_t stepping;
    uint64_t steps;
} test;

static const workload workloads[] = {
    {"libc", workload_libc},
    {"libstdc++ algorithms", workload_cxx_algorithms},
    {"libstdc++ exceptions", workload_cxx_exceptions},
    {"libstdc++ streams", workload_cxx_streams},
    {"libcurl", workload_curl},
    {"liblua", workload_lua},
    {"libsqlite3", workload_sqlite},
    {"libcrypto", workload_crypto},
};
enum { WORKLOADS = sizeof(workloads) / sizeof(*workloads) };

static void show(const char *what, const uint64_t *pcs, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        Dl_info info = {0};
        dladdr((void *)(uintptr_t)pcs[i], &info);
        print_message("  %s %2u %#lx %s+%#lx %s\n", what, i, (unsigned long)pcs[i],
                      info.dli_fname ? strrchr(info.dli_fname, '/') : "?",
                      (unsigned long)(pcs[i] - (uint64_t)(uintptr_t)info.dli_fbase),
                      info.dli_sname ? info.dli_sname : "");
    }
}

/* Compares one walk with the reference's frames. The reference stops, without saying so, where it has no call frame
   information; we may go on there by frame pointer: such points are counted apart. */
static void judge(const uint64_t *ours, unsigned count, unsigned flags, const uint64_t *theirs, unsigned theirs_count) {
    while (theirs_count && theirs[theirs_count - 1] == 0) theirs_count--;
    test.points++;
    test.frames += count;
    if (flags & SI__STACK_TRUNCATED) test.truncated++;
    unsigned same = 0;
    while (same < count && same < theirs_count && ours[same] == theirs[same]) same++;
    if (same == count && same == theirs_count) {
        test.equal++;
    } else if (same == theirs_count && same && !reference_knows(theirs[same - 1] - (same > 1))) {
        test.blind++;
    } else if (test.shown++ < SHOWN_MAX) {
        print_message("different after %u frames:\n", same);
        show("ours  ", ours, count);
        show("libgcc", theirs, theirs_count);
    }
}

static void reset(void) {
    test.points = test.equal = test.blind = test.crashed = test.truncated = test.frames = test.steps = 0;
    test.shown = 0;
}

static void report(const char *name) {
    print_message("%-24s %8lu points, %5.1f frames each, %.4f %% equal, %lu where libgcc has no information, %lu where "
                  "it faults, %lu truncated\n",
                  name, (unsigned long)test.points, test.points ? (double)test.frames / (double)test.points : 0.0,
                  test.points ? 100.0 * (double)test.equal / (double)(test.points - test.blind) : 0.0,
                  (unsigned long)test.blind, (unsigned long)test.crashed, (unsigned long)test.truncated);
}

static int setup(void **state) {
    (void)state;
    int fd, error, rows;
    size_t unavailable;
    test.region = si__region_create(&fd, &error);
    test.cache = si__unwind_cache_new();
    if (!test.region || !test.cache) return -1;
    close(fd);
    for (unsigned i = 0; i < WORKLOADS; i++) workloads[i].run(NULL); /* loads what they load */
    publish_self(test.cache, test.region, &rows, &unavailable);
    main_stack_bounds(&test.stack_lo, &test.stack_hi);
    print_message("%d modules with rows, %zu without\n", rows, unavailable);
    return unavailable != 0 || rows < 10;
}

static int teardown(void **state) {
    (void)state;
    si__unwind_forget(test.cache, test.region);
    si__unwind_cache_free(test.cache);
    si__region_unmap(test.region);
    return 0;
}

/* ---- In callbacks ---- */

static __attribute__((noinline)) void compare_here(void) {
    si__regs regs;
    uint64_t pcs[REFERENCE_MAX];
    unsigned flags = 0;
    reference r = {.count = 0};
    si__regs_here(&regs);
    unsigned count = si__unwind(test.region, NULL, &regs, test.stack_lo, test.stack_hi, pcs, REFERENCE_MAX, &flags);
    _Unwind_Backtrace(reference_frame, &r);
    r.pcs[0] = pcs[0]; /* two places of this very function */
    judge(pcs, count, flags, r.pcs, r.count);
}

static void callbacks_are_equal(void **state) {
    (void)state;
    for (unsigned i = 0; i < WORKLOADS; i++) {
        reset();
        workloads[i].run(compare_here);
        report(workloads[i].name);
        if (test.points)
            assert_int_equal(test.equal, test.points);
        else
            assert_string_equal(workloads[i].name, "libcrypto");
    }
}

/* ---- At every instruction ---- */

enum { TRAP_FLAG = 0x100 };

/* libgcc follows wrong call frame information (there is some in its own code that switches stacks) until it faults. */
static sigjmp_buf after_fault;

static void on_fault(int number) {
    (void)number;
    siglongjmp(after_fault, 1);
}

static void compare_context(const ucontext_t *context) {
    si__regs regs;
    static uint64_t pcs[REFERENCE_MAX];
    unsigned flags = 0;
    static reference r;
    si__regs_from_ucontext(&regs, context);
    unsigned count = si__unwind(test.region, NULL, &regs, test.stack_lo, test.stack_hi, pcs, REFERENCE_MAX, &flags);
    r.count = 0;
    r.has_leaf = 0;
    if (sigsetjmp(after_fault, 1)) {
        test.crashed++;
        return;
    }
    _Unwind_Backtrace(reference_frame, &r);
    judge(pcs, count, flags, r.pcs + r.leaf, r.count - r.leaf);
}

static void on_trap(int number, siginfo_t *info, void *arg) {
    (void)number, (void)info;
    ucontext_t *context = arg;
    if (!test.stepping || test.steps >= STEPS_MAX) {
        context->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
        return;
    }
    if (++test.steps <= EVERY_INSTRUCTION || test.steps % SPARSE == 0) compare_context(context);
}

/* Takes effect after the next instruction. In assembly that says where its frame is at each instruction: these are
 * compared, too. */
void trap_on(void);
__asm__(".pushsection .text\n"
        ".type trap_on, @function\n"
        "trap_on:\n"
        ".cfi_startproc\n"
        "pushfq\n"
        ".cfi_adjust_cfa_offset 8\n"
        "orl $0x100, (%rsp)\n"
        "popfq\n"
        ".cfi_adjust_cfa_offset -8\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size trap_on, . - trap_on\n"
        ".popsection\n");

/* A workload's own signal handler starts with the flag cleared. */
static void resume_stepping(void) {
    if (test.stepping && test.steps < STEPS_MAX) trap_on();
}

static void instructions_are_equal(void **state) {
    (void)state;
    if (!STEPPING) skip();
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER}, old;
    struct sigaction fault = {.sa_handler = on_fault}, old_fault;
    uint64_t points = 0, equal = 0, blind = 0, crashed = 0;
    sigaction(SIGTRAP, &action, &old);
    sigaction(SIGSEGV, &fault, &old_fault);
    for (unsigned i = 0; i < WORKLOADS; i++) {
        reset();
        test.stepping = 1;
        trap_on();
        workloads[i].run(resume_stepping);
        test.stepping = 0;
        __asm__ volatile("nop\n\tnop"); /* the trap that switches itself off */
        report(workloads[i].name);
        points += test.points;
        equal += test.equal;
        blind += test.blind;
        crashed += test.crashed;
    }
    sigaction(SIGTRAP, &old, NULL);
    sigaction(SIGSEGV, &old_fault, NULL);
    double share = (double)equal / (double)(points - blind);
    print_message("all: %lu points, %.4f %% equal\n", (unsigned long)points, 100 * share);
    assert_true(points - blind >= 100000);
    assert_true(share >= 0.999);
    assert_true((blind + crashed) * 100 <= points);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callbacks_are_equal),
        cmocka_unit_test(instructions_are_equal),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
