/*
 * libcurl 7.68 to 8.x opens a pair of sockets with every multi handle and leaves them to be inherited by each program
 * that the process starts, which is ours to prevent: it may be somebody else's process. It does not say which they are,
 * so they are looked for among the descriptors that appeared meanwhile. Called by transfers.c, on the loop's thread.
 */
#include "curl_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { DESCRIPTORS = 4096 };

/* A descriptor as libcurl makes its two: an inheritable local stream socket that does not block. */
static int looks_like_one(int fd) {
    int domain = 0, type = 0, flags = fcntl(fd, F_GETFD);
    socklen_t length = sizeof domain;
    if (flags < 0 || (flags & FD_CLOEXEC) || !(fcntl(fd, F_GETFL) & O_NONBLOCK)) return 0;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0 || domain != AF_UNIX) return 0;
    length = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

static ino_t inode_of(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* The end that a wake-up arrives at, the other one having been made right after it. */
static void close_on_exec(const unsigned char *before) {
    int woken = -1, other = -1, others = 0;
    char byte;
    for (int fd = 0; fd < DESCRIPTORS; fd++)
        if (!before[fd] && looks_like_one(fd) && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1) woken = fd;
    if (woken < 0) return;
    ino_t inode = inode_of(woken);
    for (int fd = 0; fd < DESCRIPTORS; fd++) {
        if (before[fd] || fd == woken || !looks_like_one(fd)) continue;
        if (others++ == 0 || inode_of(fd) == inode + 1) other = fd;
    }
    fcntl(woken, F_SETFD, FD_CLOEXEC);
    if (other >= 0 && (others == 1 || inode_of(other) == inode + 1)) fcntl(other, F_SETFD, FD_CLOEXEC);
}

CURLM *si__curl_multi_init(void) {
    unsigned char before[DESCRIPTORS];
    int saved = errno;
    for (int fd = 0; fd < DESCRIPTORS; fd++) before[fd] = fcntl(fd, F_GETFD) >= 0;
    CURLM *multi = curl_multi_init();
    if (multi && curl_multi_wakeup(multi) == CURLM_OK) {
        close_on_exec(before);
        curl_multi_poll(multi, NULL, 0, 0, NULL); /* takes the wake-up */
    }
    errno = saved;
    return multi;
}
