/*
 * The unwinder's two halves.
 *
 * si__unwind walks a stack inside a signal handler: binary search in published rows, loads bounded by the thread's
 * stack, nothing else. The publisher side (unwind_table.c, unwind_publish.c) compiles rows from .eh_frame of ELF files
 * on the runtime's worker thread, possibly in another process, and publishes them into the region's arena lock-free.
 */
#ifndef SI_NATIVE_UNWIND_H
#define SI_NATIVE_UNWIND_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "module.h"
#include "region.h"

/* Registers that a walk starts from or carries along. */
typedef struct si__regs {
    uint64_t pc, sp, fp;                           /* x86-64: rip rsp rbp; aarch64: pc sp x29 */
    uint64_t rbx, r12, r13, r14, r15, r10;         /* x86-64 only; 0 where not known */
    uint64_t lr;                                   /* aarch64 only */
    uint64_t rax, rdx, rcx, rsi, rdi, r8, r9, r11; /* x86-64 only: hand-written code hangs its frame on these */
} si__regs;

/* Fills regs from a signal handler's third argument. Async-signal-safe. */
void si__regs_from_ucontext(si__regs *regs, const void *ucontext);

/* Captures the caller's own registers (the frame that calls this). Async-signal-safe. */
void si__regs_here(si__regs *regs) __attribute__((noinline));

/* What a walk may use; lives in the region's arena at region->unwind_off. Private to unwind*.c. */
typedef struct si__unwind_arena si__unwind_arena;

/*
 * Walks from regs outwards. pcs[0] is regs->pc, then return addresses as found. Reads memory only in
 * [regs->sp, stack_hi), on x86-64 also in the 128 bytes below sp that belong to it, never below stack_lo. Stores
 * SI__STACK_* flags; grows region->modules_wanted when a pc has no module. `slot` may be NULL; else its unwind_epoch
 * guards the tables while the walk runs. Returns the number of pcs stored (>= 1, <= cap). Async-signal-safe, any
 * thread, no allocation, no lock.
 */
unsigned si__unwind(si__region *region, si__slot *slot, const si__regs *regs, uint64_t stack_lo, uint64_t stack_hi,
                    uint64_t *pcs, unsigned cap, unsigned *flags);

/*
 * In a forked child with one thread: `parent` is the parent's region, which goes: all of it is unmapped, but for tables
 * that are published in it, or that it had inherited itself. Walks in the new `region` use them until there are others:
 * the modules of the two are the same. The publisher may change its tables at any time, of which a walk takes note
 * afterwards; then what it found is thrown away, and the region asks for its own. Only system calls.
 */
void si__unwind_inherit(si__region *parent, si__region *region);

/* ---- Publisher side: runtime's worker thread, or a test; may allocate ---- */

typedef struct si__unwind_cache si__unwind_cache; /* compiled rows per file, shared by all processes observed */

si__unwind_cache *si__unwind_cache_new(void);
void si__unwind_cache_free(si__unwind_cache *cache);

/* Frees the tables that were not used since it was called last: every region has a copy of those it needs, so a
   program that starts no more processes and loads no more modules needs none of ours. Returns the bytes freed. */
size_t si__unwind_cache_age(si__unwind_cache *cache);

/*
 * Publishes tables for `modules` (executable mappings of the process, sorted by start) into the region's arena.
 * Compiles files not seen before; unchanged modules keep their rows. `root` prefixes module paths
 * ("/proc/PID/root" for another process, "" for our own). Returns the number of modules that have rows; `unavailable`
 * counts files without (no .eh_frame, unreadable, or the arena is full: the biggest lose their rows first). A negative
 * SI_E* leaves what was published before in force. Serialized by the caller per region.
 */
int si__unwind_publish(si__unwind_cache *cache, si__region *region, const si__module *modules, size_t count,
                       const char *root, size_t *unavailable);

/* Frees what the cache remembers of a region's arena. To be called before the region is unmapped. */
void si__unwind_forget(si__unwind_cache *cache, const si__region *region);

#endif
