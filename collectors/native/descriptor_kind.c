/* Kinds of descriptors: see descriptor_kind.h. Host threads; system calls only. */
#include "descriptor_kind.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox.h"

_Atomic uint8_t si__descriptor_kinds[SI__DESCRIPTORS_REMEMBERED];

int si__descriptor_kind_of(mode_t mode, const char *target) {
    if (S_ISSOCK(mode)) return SI__WAIT_NETWORK;
    if (S_ISFIFO(mode)) return SI__WAIT_CHANNEL;
    if (strncmp(target, "anon_inode:[eventfd]", 20) == 0) return SI__WAIT_CHANNEL;
    if (strncmp(target, "anon_inode:[eventpoll]", 22) == 0) return SI__WAIT_NETWORK;
    return SI__WAIT_SYSTEM;
}

/* "/proc/self/fd/N", without stdio: hosts call us in signal handlers. */
static void write_path(char *path, int fd) {
    char digits[12];
    int count = 0;
    do {
        digits[count++] = (char)('0' + fd % 10);
        fd /= 10;
    } while (fd);
    memcpy(path, "/proc/self/fd/", 14);
    for (path += 14; count; *path++ = digits[count]) count--;
    *path = '\0';
}

static int is_nonblocking(int fd) {
    long flags = syscall(SYS_fcntl, fd, F_GETFL);
    return flags >= 0 && (flags & O_NONBLOCK) != 0;
}

int si__descriptor_kind_ask(int fd) {
    struct stat st;
    char path[32], target[32] = "";
    int saved = errno, kind = SI__WAIT_NETWORK;
    if (fd < 0) return kind;
    if (fd < SI__DESCRIPTORS_REMEMBERED) { /* for when it is closed already, or nobody may be asked */
        int known = atomic_load_explicit(&si__descriptor_kinds[fd], memory_order_relaxed) & SI__DESCRIPTOR_KIND;
        if (known) kind = known - 1;
    }
    if (si__sandboxed()) return kind;
    if (syscall(SYS_fstat, fd, &st) == 0) {
        if ((st.st_mode & S_IFMT) == 0) { /* an anonymous file has no type */
            write_path(path, fd);
            long got = syscall(SYS_readlinkat, AT_FDCWD, path, target, sizeof target - 1);
            target[got > 0 ? got : 0] = '\0';
        }
        kind = si__descriptor_kind_of(st.st_mode, target);
        /* Files of a disk wait whatever their flags say. */
        int instant = kind != SI__WAIT_SYSTEM && fd < SI__DESCRIPTORS_REMEMBERED ? is_nonblocking(fd) : 0;
        if (fd < SI__DESCRIPTORS_REMEMBERED)
            atomic_store_explicit(&si__descriptor_kinds[fd],
                                  (uint8_t)((kind + 1) | (instant ? SI__DESCRIPTOR_INSTANT : 0)), memory_order_relaxed);
    }
    errno = saved;
    return kind;
}
