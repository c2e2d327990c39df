/* Finds libsi-probe.so. */
#include "probe_path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int usable(const char *path, char *out, size_t out_bytes) {
    char real[4096];
    if (!path || access(path, R_OK) != 0 || !realpath(path, real)) return 0;
    if (strpbrk(real, " :")) return 0; /* LD_PRELOAD splits at both */
    snprintf(out, out_bytes, "%s", real);
    return 1;
}

int si__probe_path(char *out, size_t out_bytes) {
    static const char *const beside[] = {"../lib/libsi-probe.so", "../lib/x86_64-linux-gnu/si/libsi-probe.so",
                                         "../lib/si/libsi-probe.so", "libsi-probe.so"};
    if (usable(getenv("SI_PROBE"), out, out_bytes)) return 1;
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length > 0) {
        self[length] = '\0';
        char *slash = strrchr(self, '/');
        if (slash) *slash = '\0';
        for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
            char path[4200];
            snprintf(path, sizeof path, "%s/%s", self, beside[i]);
            if (usable(path, out, out_bytes)) return 1;
        }
    }
    return usable(SI_PROBE_INSTALLED, out, out_bytes);
}
