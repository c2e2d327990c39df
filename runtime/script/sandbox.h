/*
 * The sandbox: a Lua state that hostile rule files cannot break out of, hold up, or fill.
 *
 * Called by ruleset.c and engine.c on the loop thread. One sandbox per rule file (unit.h). Memory is counted by the
 * allocator (16 MiB, and what all may use together), time by a count hook that is set before any chunk is loaded and
 * never removed (25 ms of this thread's CPU time per protected call). A killed call stays killed: the hook then fires
 * at every instruction, so pcall gets nowhere.
 */
#ifndef SI_SCRIPT_SANDBOX_H
#define SI_SCRIPT_SANDBOX_H

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

#include "blocks.h"

#define SI__SANDBOX_MEMORY_BYTES (16u << 20)
#define SI__SANDBOX_OBJECT_BYTES ((2u << 20) + 4096) /* longest text, whatever made it */
#define SI__SANDBOX_LONG_BYTES (16u << 10) /* with texts of this length around, single instructions may be slow */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SI__SANDBOX_CALL_NS (250 * (int64_t)1000000) /* a sanitized program takes ten times as long for the same */
#else
#define SI__SANDBOX_CALL_NS (25 * (int64_t)1000000)
#endif
#define SI__SANDBOX_STRING_BYTES (1u << 20) /* longest subject or result of a string function */
#define SI__SANDBOX_TABLE_ITEMS 100000      /* longest range of a table function */
#define SI__SANDBOX_PATTERN_STEPS 200000    /* of one match */

typedef struct si__pool { /* what several sandboxes may use together */
    size_t used_bytes, cap_bytes;
} si__pool;

typedef enum si__refusal { SI__REFUSED_NOT, SI__REFUSED_OWN_CAP, SI__REFUSED_POOL } si__refusal;

typedef struct si__sandbox {
    lua_State *L;
    size_t used_bytes, cap_bytes;
    si__blocks blocks;
    si__pool *pool;      /* NULL: none; borrowed */
    si__refusal refusal; /* why memory was refused last during the call; NOT: it was not, or malloc failed */
    int long_text;       /* a long text was made, and may be kept */
    uint64_t work;       /* bytes allocated and steps charged since the clock was last looked at */
    int64_t start_ns;    /* CPU clock at the start of the call; 0: not looked at yet */
    int64_t budget_ns;
    int killed;                                   /* the running call has used up its time */
    int out_of_time;                              /* so ended the last protected call */
    int base_ref;                                 /* table of allowed globals, copied into each file's environment */
    void *owner;                                  /* for bindings: what the creator wants to find again */
    void (*print)(void *owner, const char *text); /* where print goes; NULL: nowhere */
} si__sandbox;

/* NULL: out of memory. `owner` and `pool` (may be NULL) are borrowed. */
si__sandbox *si__sandbox_new(void *owner, si__pool *pool);
void si__sandbox_free(si__sandbox *sandbox);
si__sandbox *si__sandbox_of(lua_State *L);

/* Adds to the work of this call; a C function that runs long calls it, so that the next instruction looks at the clock.
 */
void si__sandbox_charge(lua_State *L, uint64_t steps);

/*
 * The one protected call: [-(nargs + 1), +(nresults | 0), -]. On success 0 and nresults values (LUA_MULTRET allowed) on
 * the stack. On error a Lua status code, nothing on the stack, and "file:line: message" plus a traceback in error.
 */
int si__sandbox_call(si__sandbox *sandbox, int nargs, int nresults, char *error, size_t error_bytes);

/* Pushes a new environment with its own copies of the allowed globals. [-0, +1, m] */
void si__sandbox_push_env(lua_State *L);

/* Loads a text chunk with the table at the top of the stack as its _ENV. [-1, +1, -]. Bytecode is refused.
   0 and the function on the stack, or a status and an error with nothing pushed. */
int si__sandbox_load(si__sandbox *sandbox, const char *text, size_t length, const char *chunk_name, char *error,
                     size_t error_bytes);

/* The capped libraries, put into the table at the top of the stack. [-0, +0, m]. strings.c, tables.c */
void si__strings_open(lua_State *L);
void si__tables_open(lua_State *L);

#endif
