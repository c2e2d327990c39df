/*
 * Code to be symbolized: small libraries compiled when the test runs, in a temporary directory that is removed at
 * its end.
 */
#ifndef SI_SPEC_FIXTURE_CODE_H
#define SI_SPEC_FIXTURE_CODE_H

#include <dirent.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <unwind.h>

#include "../../collectors/native/module.h"

static char fixture_dir[64];

/* Return addresses of the calls in progress, the caller's own first, by libgcc's unwinder. */
typedef struct walked {
    uint64_t *pcs;
    size_t count, cap;
} walked;

__attribute__((unused)) static _Unwind_Reason_Code walk_frame(struct _Unwind_Context *context, void *arg) {
    walked *w = arg;
    uint64_t pc = _Unwind_GetIP(context);
    if (pc == 0 || w->count == w->cap) return _URC_END_OF_STACK;
    w->pcs[w->count++] = pc;
    return _URC_NO_REASON;
}

#define walk_here(pcs_, cap_)                                                                                          \
    ({                                                                                                                 \
        walked walk_ = {pcs_, 0, cap_};                                                                                \
        _Unwind_Backtrace(walk_frame, &walk_);                                                                         \
        walk_.count;                                                                                                   \
    })

/* C: every function stores the address of an instruction of its own, line numbers are counted from 1. */
static const char fixture_c[] =
    "#include <stdint.h>\n"                                                               /* 1 */
    "#include <unistd.h>\n"                                                               /* 2 */
    "#if defined(__x86_64__)\n"                                                           /* 3 */
    "#define HERE(pc) __asm__ volatile(\"lea 0(%%rip), %0\" : \"=r\"(pc))\n"              /* 4 */
    "#else\n"                                                                             /* 5 */
    "#define HERE(pc) __asm__ volatile(\"adr %0, .\" : \"=r\"(pc))\n"                     /* 6 */
    "#endif\n"                                                                            /* 7 */
    "static inline __attribute__((always_inline)) void innermost(uintptr_t *out) {\n"     /* 8 */
    "    HERE(out[0]);\n"                                                                 /* 9 */
    "}\n"                                                                                 /* 10 */
    "static inline __attribute__((always_inline)) void middle(uintptr_t *out) {\n"        /* 11 */
    "    innermost(out);\n"                                                               /* 12 */
    "    HERE(out[1]);\n"                                                                 /* 13 */
    "}\n"                                                                                 /* 14 */
    "__attribute__((noinline)) void fixture_outer(uintptr_t *out) {\n"                    /* 15 */
    "    middle(out);\n"                                                                  /* 16 */
    "    HERE(out[2]);\n"                                                                 /* 17 */
    "}\n"                                                                                 /* 18 */
    "static __attribute__((noinline)) int hidden_helper(uintptr_t *out) {\n"              /* 19 */
    "    HERE(out[3]);\n"                                                                 /* 20 */
    "    out[5] += (uintptr_t)getpid();\n"                                                /* 21 */
    "    HERE(out[4]);\n"                                                                 /* 22 */
    "    return 1;\n"                                                                     /* 23 */
    "}\n"                                                                                 /* 24 */
    "int fixture_static(uintptr_t *out) { return hidden_helper(out) + 1; }\n"             /* 25 */
    "int fixture_alias(uintptr_t *out) __attribute__((alias(\"__fixture_internal\")));\n" /* 26 */
    "__attribute__((noinline)) int __fixture_internal(uintptr_t *out) {\n"                /* 27 */
    "    HERE(out[6]);\n"                                                                 /* 28 */
    "    return 3;\n"                                                                     /* 29 */
    "}\n";                                                                                /* 30 */

static const char fixture_cxx[] =
    "#include <cstdint>\n"
    "#include <map>\n"
    "#include <string>\n"
    "#if defined(__x86_64__)\n"
    "#define HERE(pc) __asm__ volatile(\"lea 0(%%rip), %0\" : \"=r\"(pc))\n"
    "#else\n"
    "#define HERE(pc) __asm__ volatile(\"adr %0, .\" : \"=r\"(pc))\n"
    "#endif\n"
    "namespace shop {\n"
    "template <typename T> struct Cart {\n"                                                               /* 10 */
    "    inline __attribute__((always_inline)) void price(std::uintptr_t *out) const { HERE(out[0]); }\n" /* 11 */
    "    __attribute__((noinline)) int total(std::uintptr_t *out, const T &) const {\n"                   /* 12 */
    "        price(out);\n"                                                                               /* 13 */
    "        HERE(out[1]);\n"                                                                             /* 14 */
    "        return 1;\n"
    "    }\n"
    "};\n"
    "}\n"
    "extern \"C\" int fixture_cxx(std::uintptr_t *out) {\n"
    "    shop::Cart<std::map<int, long>> cart;\n"
    "    auto lambda = [](std::uintptr_t *o) __attribute__((noinline)) {\n" /* 21 */
    "        HERE(o[2]);\n"                                                 /* 22 */
    "        return 2;\n"
    "    };\n"
    "    return cart.total(out, {}) + lambda(out);\n"
    "}\n";

/* Runs a shell command made like printf in the fixture directory; 1 when it succeeded. */
__attribute__((format(printf, 1, 2), unused)) static int shell(const char *format, ...) {
    char line[4096], whole[4200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    snprintf(whole, sizeof whole, "cd %s && %s", fixture_dir, line);
    return system(whole) == 0;
}

static const char *fixture_path(const char *name) {
    static char path[4][256];
    static unsigned next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", fixture_dir, name);
    return p;
}

static int fixture_write(const char *name, const void *bytes, size_t length) {
    FILE *out = fopen(fixture_path(name), "w");
    if (!out) return 0;
    int whole = fwrite(bytes, 1, length, out) == length;
    return fclose(out) == 0 && whole;
}

/* Makes the directory and compiles fixture.so (C, DWARF, build id) into it. */
__attribute__((unused)) static int fixture_open(void) {
    strcpy(fixture_dir, "/tmp/si-fixture-XXXXXX");
    return mkdtemp(fixture_dir) && fixture_write("fixture.c", fixture_c, sizeof fixture_c - 1) &&
           shell("cc -O2 -g -fPIC -shared -Wl,--build-id=sha1 -o fixture.so fixture.c");
}

__attribute__((unused)) static void fixture_close(void) {
    if (fixture_dir[0]) (void)shell("rm -rf %s", fixture_dir);
}

/* The module that a file would be if it were mapped whole at `start`. */
__attribute__((unused)) static si__module fixture_module(const char *path, uint64_t start) {
    struct stat st = {0};
    (void)stat(path, &st);
    return (si__module){.start = start,
                        .end = start + (uint64_t)st.st_size,
                        .file_offset = 0,
                        .device = st.st_dev,
                        .inode = st.st_ino,
                        .path = (char *)(uintptr_t)path};
}

#endif
