/* A plugin that a program loads late, bound to one SQLite or another: for hook_test. */
#include <dlfcn.h>

#define SHOWN __attribute__((visibility("default")))

int sqlite3_exec(void *db, const char *sql, void *row, void *arg, void *why);
SHOWN int plugin_exec(void *db, const char *sql);
SHOWN void *plugin_next(const char *name);

int plugin_exec(void *db, const char *sql) {
    return sqlite3_exec(db, sql, 0, 0, 0);
}

/* What the linker finds behind this very module. */
void *plugin_next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    __asm__ volatile("" ::: "memory"); /* no tail call: it is this module that asks */
    return found;
}
