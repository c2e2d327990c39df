/*
 * Hooks in libraries that come and go: a plugin that is loaded late, two copies of one library at once, calls of a
 * library to itself, dlsym that depends on who asks. Embedded and preloaded.
 */
#include <dlfcn.h>
#include <sqlite3.h>

#include "../../collectors/native/hook.h"
#include "call_host.h"

static const char *self_path;

typedef struct plugin {
    void *handle;
    int (*exec)(void *db, const char *sql);
    void *(*next)(const char *name);
} plugin;

#define must(condition) ((condition) ? (void)0 : failed_at(#condition, __LINE__))
static void failed_at(const char *condition, int line) {
    fprintf(stderr, "line %d: %s\n", line, condition);
    abort();
}

static plugin load(const char *name, int flags) {
    char path[300];
    plugin loaded;
    snprintf(path, sizeof path, "%s/spec/%s.so", SI_BINARY_DIR, name);
    loaded.handle = dlopen(path, flags | RTLD_LOCAL);
    if (!loaded.handle) fprintf(stderr, "%s\n", dlerror());
    must(loaded.handle != NULL);
    *(void **)&loaded.exec = dlsym(loaded.handle, "plugin_exec");
    *(void **)&loaded.next = dlsym(loaded.handle, "plugin_next");
    must(loaded.exec && loaded.next);
    if (si__probe_region()) si__hook_refresh(); /* embedded, the runtime does it every second */
    return loaded;
}

static void counted(const char *name, int failed) {
    did(SI__INSTRUMENT_CALL_SQL, name, failed, 0);
}

static void run(const plugin *p, sqlite3 *db, const char *sql, int expected, const char *name) {
    must(p->exec(db, sql) == expected);
    counted(name, expected != SQLITE_OK);
}

static void workload(const char *argument) {
    sqlite3 *db;
    (void)argument;
    must(sqlite3_open(":memory:", &db) == SQLITE_OK);
    plugin late = load("hook_plugin", RTLD_NOW);
    for (int i = 0; i < 3; i++) run(&late, db, "SELECT 5 AS late", SQLITE_OK, "SELECT ? AS late");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they refuse RTLD_DEEPBIND */
    for (int round = 0; round < 3; round++) {                       /* its library goes and comes, too */
        int lazy = round == 1; /* which copy it will be bound to only the linker knows: it is, and is not counted */
        plugin private = load("hook_private", RTLD_DEEPBIND | (lazy ? RTLD_LAZY : RTLD_NOW));
        must(private.exec(NULL, "SELECT 5 AS private") == 4242);
        if (!lazy) counted("SELECT ? AS private", 1);
        run(&late, db, "SELECT 5 AS late", SQLITE_OK, "SELECT ? AS late");
        must(sqlite3_exec(db, "SELECT 5 AS own", NULL, NULL, NULL) == SQLITE_OK);
        counted("SELECT ? AS own", 0);
        int (*itself)(void);
        *(void **)&itself = private.next("library_calls_itself"); /* of the plugin's own scope, behind it */
        must(itself && itself() == 4242);
        must(dlsym(RTLD_DEFAULT, "library_calls_itself") == NULL); /* not of ours */
        must(dlclose(private.handle) == 0);
    }
#endif
    must(dlclose(late.handle) == 0);
    must(sqlite3_close(db) == SQLITE_OK);
    must(dlsym(RTLD_DEFAULT, "no such name") == NULL && strstr(dlerror(), "no such name"));
}

static void embedded(void **state) {
    (void)state;
    play_embedded(workload, NULL);
    play_embedded(workload, NULL);
}

static void preloaded(void **state) {
    (void)state;
    play_preloaded(self_path, "hook", "");
}

int main(int argc, char **argv) {
    if (argc > 2) return play(workload, argv[2]);
    self_path = argv[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedded),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(preloaded),
#endif
    };
    (void)preloaded;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
