/*
 * Where a process, or the program in it, ends without running destructors: _exit, quick_exit and the exec family, as
 * forked children and shells use them. The thread says what CPU time it still has to account for, then calls the real
 * one. Host threads; also in a signal handler, as _exit and execve may be. In a child of vfork nothing is said: its
 * memory is the parent's.
 */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "native/probe.h"

#define EXPORT __attribute__((visibility("default")))

static struct {
    void (*exit_now)(int);
    void (*quick_exit)(int);
    int (*execve)(const char *, char *const *, char *const *);
    int (*execvp)(const char *, char *const *);
    int (*execvpe)(const char *, char *const *, char *const *);
    int (*fexecve)(int, char *const *, char *const *);
    int (*execveat)(int, const char *, char *const *, char *const *, int);
} real;
static atomic_uint resolved;

static void find(void *into, const char *name) {
    void *function = dlsym(RTLD_NEXT, name);
    memcpy(into, &function, sizeof function);
}

void si__preload_resolve_end(void);
/* Before main, so that nothing is looked up in a signal handler. */
void si__preload_resolve_end(void) {
    if (atomic_load_explicit(&resolved, memory_order_acquire)) return;
    find(&real.exit_now, "_exit");
    find(&real.quick_exit, "quick_exit");
    find(&real.execve, "execve");
    find(&real.execvp, "execvp");
    find(&real.execvpe, "execvpe");
    find(&real.fexecve, "fexecve");
    find(&real.execveat, "execveat");
    atomic_store_explicit(&resolved, 1, memory_order_release);
}

EXPORT _Noreturn void _exit(int status) {
    si__preload_resolve_end();
    si__probe_settle();
    real.exit_now(status);
    __builtin_unreachable();
}

EXPORT _Noreturn void _Exit(int status) {
    _exit(status);
}

EXPORT _Noreturn void quick_exit(int status) {
    si__preload_resolve_end();
    si__probe_settle();
    real.quick_exit(status);
    __builtin_unreachable();
}

EXPORT int execve(const char *path, char *const argv[], char *const envp[]) {
    si__preload_resolve_end();
    si__probe_leave();
    return real.execve(path, argv, envp);
}

EXPORT int execv(const char *path, char *const argv[]) {
    return execve(path, argv, environ);
}

EXPORT int execvp(const char *file, char *const argv[]) {
    si__preload_resolve_end();
    si__probe_leave();
    return real.execvp(file, argv);
}

EXPORT int execvpe(const char *file, char *const argv[], char *const envp[]) {
    si__preload_resolve_end();
    si__probe_leave();
    return real.execvpe(file, argv, envp);
}

EXPORT int fexecve(int fd, char *const argv[], char *const envp[]) {
    si__preload_resolve_end();
    si__probe_leave();
    return real.fexecve(fd, argv, envp);
}

EXPORT int execveat(int dir, const char *path, char *const argv[], char *const envp[], int flags) {
    si__preload_resolve_end();
    si__probe_leave();
    return real.execveat(dir, path, argv, envp, flags);
}

/* ---- The forms with their arguments in a list: on the stack, as many as there are ---- */

static size_t count_of(va_list *list) {
    size_t count = 1;
    while (va_arg(*list, char *)) count++;
    return count;
}

static void collect(char **argv, const char *first, size_t count, va_list *list) {
    argv[0] = (char *)(size_t)first;
    for (size_t i = 1; i <= count; i++) argv[i] = va_arg(*list, char *);
}

EXPORT int execl(const char *path, const char *first, ...) {
    va_list list;
    va_start(list, first);
    size_t count = count_of(&list);
    va_end(list);
    char *argv[count + 1];
    va_start(list, first);
    collect(argv, first, count, &list);
    va_end(list);
    return execve(path, argv, environ);
}

EXPORT int execlp(const char *file, const char *first, ...) {
    va_list list;
    va_start(list, first);
    size_t count = count_of(&list);
    va_end(list);
    char *argv[count + 1];
    va_start(list, first);
    collect(argv, first, count, &list);
    va_end(list);
    return execvp(file, argv);
}

EXPORT int execle(const char *path, const char *first, ...) {
    va_list list;
    va_start(list, first);
    size_t count = count_of(&list);
    va_end(list);
    char *argv[count + 1];
    va_start(list, first);
    collect(argv, first, count, &list);
    char *const *envp = va_arg(list, char *const *);
    va_end(list);
    return execve(path, argv, envp);
}
