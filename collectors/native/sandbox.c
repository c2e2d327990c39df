/* Judges seccomp filters, and makes the probe quiet: see sandbox.h. Host threads, before they enter a sandbox. */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "signal.h"
#include "thread.h"
#include "timer.h"

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#else
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

_Atomic int si__sandbox_now;

/* What ticks, threads, forks and the end of a process call, beyond what libc calls there anyway. */
typedef struct call {
    int number;
    uint64_t arguments[4]; /* what filters look at */
} call;

static const call our_calls[] = {
    {SYS_gettid, {0}},
    {SYS_getpid, {0}},
    {SYS_prctl, {PR_GET_NAME}},
    {SYS_timer_create, {0}},
    {SYS_timer_settime, {0}},
    {SYS_timer_delete, {0}},
    {SYS_clock_gettime, {CLOCK_THREAD_CPUTIME_ID}},
    {SYS_rt_sigprocmask, {SIG_BLOCK}},
    {SYS_rt_sigaction, {SIGSEGV}},
    {SYS_tgkill, {0}},
    {SYS_prlimit64, {0, RLIMIT_NOFILE}},
    {SYS_memfd_create, {0}},
    {SYS_ftruncate, {0}},
    {SYS_fcntl, {3, F_DUPFD_CLOEXEC}},
    {SYS_fcntl, {3, F_ADD_SEALS}},
    {SYS_mmap, {0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED}},
    {SYS_munmap, {0, 4096}},
    {SYS_madvise, {0, 4096, MADV_DONTDUMP}},
    {SYS_socket, {AF_UNIX, SOCK_SEQPACKET}},
    {SYS_connect, {3}},
    {SYS_sendmsg, {3}},
    {SYS_recvfrom, {3}},
    {SYS_close, {3}},
    {SYS_ppoll, {0}},
#ifdef SYS_poll
    {SYS_poll, {0}},
#endif
};

/* ---- The filter's language: classic BPF, as far as seccomp admits it ---- */

typedef struct machine {
    uint32_t a, x, memory[BPF_MEMWORDS];
} machine;

static uint32_t arithmetic(uint32_t op, uint32_t a, uint32_t b) {
    switch (op) {
    case BPF_ADD:
        return a + b;
    case BPF_SUB:
        return a - b;
    case BPF_MUL:
        return a * b;
    case BPF_DIV:
        return b ? a / b : 0;
    case BPF_AND:
        return a & b;
    case BPF_OR:
        return a | b;
    case BPF_XOR:
        return a ^ b;
    case BPF_LSH:
        return a << (b & 31);
    case BPF_RSH:
        return a >> (b & 31);
    default: /* BPF_NEG */
        return 0u - a;
    }
}

static int holds(uint32_t op, uint32_t a, uint32_t b) {
    switch (op) {
    case BPF_JEQ:
        return a == b;
    case BPF_JGT:
        return a > b;
    case BPF_JGE:
        return a >= b;
    default: /* BPF_JSET */
        return (a & b) != 0;
    }
}

static uint32_t load(const machine *m, const struct sock_filter *i, const struct seccomp_data *data) {
    uint32_t value = i->k;
    if (BPF_MODE(i->code) == BPF_ABS && i->k <= sizeof *data - sizeof value)
        memcpy(&value, (const char *)data + i->k, sizeof value);
    else if (BPF_MODE(i->code) == BPF_LEN)
        value = sizeof *data;
    else if (BPF_MODE(i->code) == BPF_MEM)
        value = m->memory[i->k % BPF_MEMWORDS];
    return value;
}

static void compute(machine *m, const struct sock_filter *i, const struct seccomp_data *data) {
    switch (BPF_CLASS(i->code)) {
    case BPF_LD:
        m->a = load(m, i, data);
        break;
    case BPF_LDX:
        m->x = load(m, i, data);
        break;
    case BPF_ST:
        m->memory[i->k % BPF_MEMWORDS] = m->a;
        break;
    case BPF_STX:
        m->memory[i->k % BPF_MEMWORDS] = m->x;
        break;
    case BPF_ALU:
        m->a = arithmetic(BPF_OP(i->code), m->a, BPF_SRC(i->code) == BPF_X ? m->x : i->k);
        break;
    default: /* BPF_MISC */
        if (BPF_MISCOP(i->code) == BPF_TAX)
            m->x = m->a;
        else
            m->a = m->x;
    }
}

/* What the filter does about a call. Jumps go forward only, so it ends. */
static uint32_t answer_for(const struct sock_fprog *filter, const call *c) {
    struct seccomp_data data = {.nr = c->number, .arch = ARCHITECTURE};
    memcpy(data.args, c->arguments, sizeof c->arguments);
    machine m;
    memset(&m, 0, sizeof m);
    for (uint32_t at = 0; at < filter->len; at++) {
        const struct sock_filter *i = &filter->filter[at];
        if (BPF_CLASS(i->code) == BPF_RET) return (BPF_RVAL(i->code) == BPF_A ? m.a : i->k) & SECCOMP_RET_ACTION_FULL;
        if (BPF_CLASS(i->code) != BPF_JMP) {
            compute(&m, i, &data);
        } else if (BPF_OP(i->code) == BPF_JA) {
            if (i->k >= filter->len) break;
            at += i->k;
        } else {
            at += holds(BPF_OP(i->code), m.a, BPF_SRC(i->code) == BPF_X ? m.x : i->k) ? i->jt : i->jf;
        }
    }
    return SECCOMP_RET_KILL_PROCESS;
}

static int allows(const struct sock_fprog *filter, const call *c) {
    uint32_t action = answer_for(filter, c);
    return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG;
}

/* Refusing is as good as allowing: whatever fails, we do without. */
static int lets_live(const struct sock_fprog *filter, const call *c) {
    return allows(filter, c) || answer_for(filter, c) == SECCOMP_RET_ERRNO;
}

si__sandbox_verdict si__sandbox_judge(const struct sock_fprog *filter) {
    static const call handler_return = {SYS_rt_sigreturn, {0}};
    if (!filter->filter || !allows(filter, &handler_return)) return SI__SANDBOX_NO_SIGNALS;
    for (size_t i = 0; i < sizeof our_calls / sizeof *our_calls; i++)
        if (!lets_live(filter, &our_calls[i])) return SI__SANDBOX_NO_CALLS;
    return SI__SANDBOX_HARMLESS;
}

/* ---- Becoming quiet ---- */

static void stop_ticks(void) {
    const si__region *region = si__probe_region();
    uint32_t used = region ? atomic_load_explicit(&region->slots_used, memory_order_acquire) : 1;
    si__signal_block(1);
    for (uint32_t i = 0; i < used && i < SI__SLOT_COUNT; i++) si__timer_stop(si__thread_at(i));
}

/* In strict mode, reading the processor's counter raises SIGSEGV; so does CLOCK_MONOTONIC, which reads it. */
static int source_before = SI__CYCLES_NONE;
static void forbid_clocks(void) {
    source_before = atomic_exchange(&si__cycle_source_now, SI__CYCLES_NONE);
}

int si__sandbox_enter(const struct sock_fprog *filter) {
    int saved = errno, before = si__sandboxed();
    const si__thread *self = si__thread_self();
    if (!filter && self && (before || self->tid == (int32_t)syscall(SYS_gettid))) forbid_clocks();
    if (before || !self || self->tid != (int32_t)syscall(SYS_gettid)) return before; /* not in a vfork child */
    si__sandbox_verdict verdict =
        filter ? si__sandbox_judge(filter) : SI__SANDBOX_NO_SIGNALS; /* reading the clock is fatal */
    if (verdict != SI__SANDBOX_HARMLESS) {
        si__probe_region_needed();
        if (verdict == SI__SANDBOX_NO_SIGNALS) stop_ticks();
        atomic_store(&si__sandbox_now, 1);
    }
    errno = saved;
    return before;
}

void si__sandbox_undo(int before) {
    int none = SI__CYCLES_NONE;
    atomic_compare_exchange_strong(&si__cycle_source_now, &none, source_before);
    atomic_store(&si__sandbox_now, before);
}
