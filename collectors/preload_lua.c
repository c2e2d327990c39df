/*
 * Lua programs under `si run` with no change in them: their state is attached before their first line runs.
 *
 * A standalone interpreter asks for LUA_INIT, a chunk to run first, in its own words: it is answered with one that
 * calls this very library, in front of the chunk that the user has asked for. Other programs with a Lua inside: see
 * lua_host.c. Host threads.
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
static int chunks; /* that the interpreter runs after this one */

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

/* What the interpreter's command line asks for. */
typedef struct asked {
    int no_environment; /* `lua -E`: whoever asks for a variable then is the program, by os.getenv */
    int chunks;         /* chunks and modules that it runs: -e, -l, and the script */
} asked;

static void read_words(const char *line, const char *end, asked *out) {
    const char *word = line + strlen(line) + 1; /* its own name comes first */
    int script = 1;
    for (; word < end && word[0] == '-' && word[1]; word += strlen(word) + 1) {
        if (strcmp(word, "--") == 0) {
            word += 3;
            break;
        }
        if (strcmp(word, "-E") == 0) out->no_environment = 1;
        if (word[1] == 'e' || word[1] == 'l') {
            out->chunks++;
            script = 0;                             /* alone, these are all */
            if (!word[2]) word += strlen(word) + 1; /* its text is the next word */
        }
    }
    if (script || word < end) out->chunks++;
}

static asked what_is_asked(void) {
    char line[4096];
    asked out = {1, 0};
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    if (file < 0) return out;
    ssize_t bytes = read(file, line, sizeof line - 1);
    close(file);
    if (bytes <= 0) return out;
    line[bytes] = '\0';
    out.no_environment = 0;
    read_words(line, line + bytes, &out);
    return out;
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
    if (atomic_exchange(&answered, 1)) return users;
    asked words = what_is_asked();
    if (words.no_environment) return users;
    chunks = words.chunks;
    if (!dladdr(chunk, &own) || !own.dli_fname || own.dli_fname[0] != '/') return users;
    const char *made = make_chunk(own.dli_fname, users);
    return made ? chunk : users;
}

EXPORT char *getenv(const char *name) {
    if (!real_getenv) {
        void *next = dlsym(RTLD_NEXT, "getenv");
        memcpy(&real_getenv, &next, sizeof next);
    }
    char *value = real_getenv(name);
    if (name[0] != 'L') return value;
    int first = strcmp(name, first_variable) == 0;
    if (!first && strcmp(name, second_variable) != 0) return value;
    /* Errors name the variable that the chunk came from: with a chunk of the user's in the second, that is answered. */
    if (first && !value && real_getenv(second_variable)) return value;
    return answer(value, __builtin_return_address(0));
}

struct lua_State;
void si__lua_watch_uncaught(struct lua_State *L, int chunks); /* lua_uncaught.c */
EXPORT int si_probe_attach_lua(struct lua_State *L);

/* A lua_CFunction. */
EXPORT int si_probe_attach_lua(struct lua_State *L) {
    if (si_lua_attach(NULL, L) == 0) si__lua_watch_uncaught(L, chunks);
    return 0;
}
