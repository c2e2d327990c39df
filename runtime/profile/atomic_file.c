/* Whole files by rename. Called by folded.c and pprof.c. */
#include "atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "si/si.h"

int si__atomic_file(const char *path, int (*write)(void *arg, FILE *out), void *arg) {
    static const char suffix[] = ".XXXXXX";
    size_t length = strlen(path);
    char *name = malloc(length + sizeof suffix);
    if (!name) return SI_ENOMEM;
    memcpy(name, path, length);
    memcpy(name + length, suffix, sizeof suffix);
    int result = SI_EIO, saved;
    int fd = mkostemp(name, O_CLOEXEC);
    FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!out) {
        saved = errno;
        if (fd >= 0) close(fd);
    } else {
        (void)fchmod(fd, 0644); /* mkostemp made it private; profiles are shared with other tools */
        result = write(arg, out);
        saved = errno;
        if (fclose(out) != 0 && result == 0) {
            result = SI_EIO;
            saved = errno;
        }
    }
    if (result == 0 && rename(name, path) != 0) {
        result = SI_EIO;
        saved = errno;
    }
    if (result && fd >= 0) unlink(name);
    free(name);
    errno = saved;
    return result;
}
