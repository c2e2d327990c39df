/*
 * Lua programs under `si run` with no change in them: their state is attached before their first line runs.
 *
 * A standalone interpreter asks for LUA_INIT, a chunk to run first, in its own words: it is answered with one that
 * calls this very library, in front of the chunk that the user has asked for. Other programs with a Lua inside attach
 * their states themselves: to stand in front of luaL_newstate would mix up the Luas of a program that has two. Host
 * threads.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "native/fork.h"
#include "si/si.h"

#define EXPORT __attribute__((visibility("default")))

static const char first_variable[] = "LUA_INIT_5_4", second_variable[] = "LUA_INIT";

/* ---- The chunk ---- */

static char *(*real_getenv)(const char *);

enum { CHUNK_BYTES = 16 * 1024 };

static char chunk[CHUNK_BYTES];
static atomic_int answered;

static int append(size_t *at, const char *text) {
    size_t length = strlen(text);
    if (length >= sizeof chunk - *at) return 0;
    memcpy(chunk + *at, text, length + 1);
    *at += length;
    return 1;
}

/* As a Lua string. */
static int append_quoted(size_t *at, const char *text) {
    int ok = append(at, "\"");
    for (; ok && *text; text++) {
        const char one[3] = {*text == '"' || *text == '\\' || *text == '\n' ? '\\' : *text, *text, '\0'};
        ok = append(at, one[0] == '\\' ? one : one + 1);
    }
    return ok && append(at, "\"");
}

/* The user's chunk keeps its name and its line numbers. NULL: no room. */
static const char *make_chunk(const char *library, const char *users) {
    size_t at = 0;
    int ok = append(&at, "do local attach = package.loadlib(") && append_quoted(&at, library) &&
             append(&at, ", 'si_probe_attach_lua') if attach then attach() end end ");
    if (ok && users && users[0] == '@')
        ok = append(&at, "dofile(") && append_quoted(&at, users + 1) && append(&at, ")");
    else if (ok && users)
        ok = append(&at, users);
    return ok ? chunk : NULL;
}

/* `lua -E` ignores the environment: whoever asks then is the program, by os.getenv. */
static int environment_ignored(void) {
    char line[4096];
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 1;
    ssize_t bytes = read(file, line, sizeof line - 1);
    close(file);
    if (bytes <= 0) return 1;
    line[bytes] = '\0';
    for (const char *word = line + strlen(line) + 1; word < line + bytes && word[0] == '-'; word += strlen(word) + 1)
        if (strcmp(word, "-E") == 0) return 1;
    return 0;
}

/* The program itself is a Lua 5.4 interpreter, and it asks, not a library. */
static int is_interpreter(const void *caller) {
    Dl_info program, asking;
    const void *load = dlsym(RTLD_DEFAULT, "lua_newuserdatauv");
    return load && dladdr((const void *)getauxval(AT_ENTRY), &program) && dladdr(caller, &asking) &&
           program.dli_fbase == asking.dli_fbase;
}

static char *answer(char *users, const void *caller) {
    Dl_info own;
    if (!atomic_load(&si__owner_get()->alive) || atomic_load(&answered) || !is_interpreter(caller)) return users;
    if (atomic_exchange(&answered, 1) || environment_ignored()) return users;
    if (!dladdr(chunk, &own) || !own.dli_fname || own.dli_fname[0] != '/') return users;
    const char *made = make_chunk(own.dli_fname, users ? users : real_getenv(second_variable));
    return made ? chunk : users;
}

EXPORT char *getenv(const char *name) {
    if (!real_getenv) {
        void *next = dlsym(RTLD_NEXT, "getenv");
        memcpy(&real_getenv, &next, sizeof next);
    }
    char *value = real_getenv(name);
    return name[0] == 'L' && strcmp(name, first_variable) == 0 ? answer(value, __builtin_return_address(0)) : value;
}

struct lua_State;
EXPORT int si_probe_attach_lua(struct lua_State *L);

/* A lua_CFunction. */
EXPORT int si_probe_attach_lua(struct lua_State *L) {
    si_lua_attach(NULL, L);
    return 0;
}
