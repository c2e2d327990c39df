/*
 * Copies of the libc data objects that Debian's static Lua and libuv refer to; see StaticDependencies.cmake.
 * Filled when the library is loaded; `environ` is a snapshot, good enough because we never spawn from a host.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

FILE *si__libc_stdin, *si__libc_stdout, *si__libc_stderr;
char **si__libc_environ;
const struct in6_addr si__libc_in6addr_any = IN6ADDR_ANY_INIT;

__attribute__((constructor)) static void fill(void) {
    si__libc_stdin = stdin;
    si__libc_stdout = stdout;
    si__libc_stderr = stderr;
    si__libc_environ = environ;
}
