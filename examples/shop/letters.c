/*
 * Confirmations of orders: the server's threads put what was sold into a pipe, one thread of this file takes it out,
 * writes a letter in Lua (letter.lua), and appends it to a file that is safe on disk before the next one is begun.
 * Without Lua, a letter is one line made in C.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef SHOP_LETTER
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#endif

#include "shop.h"

enum { OUTBOX_BYTES = 1 << 20 }; /* the file begins anew then: a demo may run for days */

typedef struct letter {
    int order, quantity;
    int64_t price_cents;
    char name[64];
} letter;

static int queue[2] = {-1, -1}; /* a pipe; smaller than PIPE_BUF, so letters of many threads do not mix */
static int outbox = -1;
static pthread_t writer;

#ifdef SHOP_LETTER
static lua_State *open_lua(void) {
    lua_State *L = luaL_newstate();
    if (!L) return NULL;
    luaL_openlibs(L);
    int error = si_lua_attach(NULL, L);
    if (error) fprintf(stderr, "shop: Lua is not observed: %s (%s)\n", si_strerror(error), si_lua_reason());
    if (luaL_dofile(L, SHOP_LETTER) == LUA_OK && lua_istable(L, -1)) return L; /* stays at 1 */
    fprintf(stderr, "shop: %s\n", lua_tostring(L, -1));
    lua_close(L);
    return NULL;
}

/* The text in *out, borrowed until the next letter. 0, or -1: letter.lua refused it. */
static int compose(lua_State *L, const letter *of, const char **out) {
    lua_settop(L, 1);
    lua_pushcfunction(L, si_lua_error); /* errors show with their Lua stack */
    lua_getfield(L, 1, "write");
    lua_pushinteger(L, of->order);
    lua_pushstring(L, of->name);
    lua_pushinteger(L, of->quantity);
    lua_pushinteger(L, of->price_cents);
    if (lua_pcall(L, 4, 1, 2) != LUA_OK) return -1;
    *out = lua_tostring(L, -1);
    return *out ? 0 : -1;
}
#else
typedef struct lua_State lua_State;
static lua_State *open_lua(void) {
    return NULL;
}
static int compose(lua_State *L, const letter *of, const char **out) {
    (void)L, (void)of, (void)out;
    return -1;
}
static void lua_close(lua_State *L) {
    (void)L;
}
#endif

static int compose_plain(const letter *of, const char **out) {
    static char line[256]; /* of the one writer */
    snprintf(line, sizeof line, "Order %d: %d x %s, %lld cents\n", of->order, of->quantity, of->name,
             (long long)of->price_cents);
    *out = line;
    return 0;
}

/* Every letter is synced by itself: a disk that takes 5 ms for that writes 200 letters a second and no more. */
static int post_letter(const char *text) {
    ssize_t length = (ssize_t)strlen(text);
    if (lseek(outbox, 0, SEEK_CUR) > OUTBOX_BYTES && (ftruncate(outbox, 0) || lseek(outbox, 0, SEEK_SET) < 0))
        return -1;
    return write(outbox, text, (size_t)length) == length && fsync(outbox) == 0 ? 0 : -1;
}

static void *write_letters(void *unused) {
    (void)unused;
    lua_State *L = open_lua();
    letter next;
    while (read(queue[0], &next, sizeof next) == (ssize_t)sizeof next) {
        const char *text = NULL;
        si_call handler; /* no HTTP, but a request that is answered all the same */
        si_handler_start(&handler, "letters of orders");
        int failed = L ? compose(L, &next, &text) : compose_plain(&next, &text);
        if (!failed && post_letter(text)) {
            si_error_record("outbox", strerror(errno));
            failed = 1;
        }
        si_handler_stop(&handler, failed ? 500 : 200);
    }
    if (L) lua_close(L);
    return NULL;
}

int shop_letters_start(const char *outbox_path) {
    outbox = open(outbox_path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (outbox < 0 || pipe2(queue, O_CLOEXEC)) return -1;
    return pthread_create(&writer, NULL, write_letters, NULL) ? -1 : 0;
}

void shop_letter_send(int order, const shop_product *product, int quantity, int64_t price_cents) {
    letter next = {.order = order, .quantity = quantity, .price_cents = price_cents};
    memcpy(next.name, product->name, sizeof next.name);
    if (write(queue[1], &next, sizeof next) != (ssize_t)sizeof next) si_error_record("letter lost", strerror(errno));
}

void shop_letters_stop(void) {
    if (queue[1] >= 0) close(queue[1]); /* the writer reads what is left, then the end */
    queue[1] = -1;
    if (writer) pthread_join(writer, NULL);
    if (queue[0] >= 0) close(queue[0]);
    if (outbox >= 0) close(outbox);
}
