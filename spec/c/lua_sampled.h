/*
 * Lua states under our own sampler: what the tests of attached states share. A stack arrives as text, leaf last:
 * "main chunk;caller;burn".
 */
#ifndef SI_SPEC_LUA_SAMPLED_H
#define SI_SPEC_LUA_SAMPLED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "sampled.h"
#include "si/si.h"

static void (*const not_every_test_waits)(long) __attribute__((unused)) = pause_ms;

/* ---- What arrived ---- */

typedef struct lua_stack_seen {
    char text[2048];
    uint64_t value_ns, count;
    si__event_type type;
    int32_t tid;
    unsigned lines[8]; /* of the leaf's name */
} lua_stack_seen;

static lua_stack_seen *seen;
static size_t seen_count, seen_room;
static uint64_t seen_ns, seen_events;

static void append_frame(char *text, size_t room, const char *name) {
    size_t at = strlen(text);
    snprintf(text + at, room - at, "%s%s", at ? ";" : "", name);
}

/* Names of Lua functions; C frames by the section of their workload; everything else is left out. */
static void describe(const si__drained_event *event, char *text, size_t room) {
    text[0] = '\0';
    for (unsigned i = event->frame_count; i-- > 0;) {
        uint64_t pc = event->pcs[i];
        if (si__pc_is_name(pc))
            append_frame(text, room, si__region_name(region, (uint32_t)pc)->function);
        else if (pc >= (uintptr_t)__start_work_a && pc < (uintptr_t)__stop_work_a)
            append_frame(text, room, "[a]");
        else if (pc >= (uintptr_t)__start_work_b && pc < (uintptr_t)__stop_work_b)
            append_frame(text, room, "[b]");
    }
}

static void note(void *arg, const si__drained_event *event) {
    char text[2048];
    (void)arg;
    describe(event, text, sizeof text);
    if (event->type == SI__EVENT_CPU) {
        seen_ns += (uint64_t)event->value;
        seen_events++;
    }
    size_t i = 0;
    while (i < seen_count &&
           (seen[i].type != event->type || seen[i].tid != event->tid || strcmp(seen[i].text, text) != 0))
        i++;
    if (i == seen_count) {
        if (seen_count == seen_room) seen = realloc(seen, (seen_room = seen_room * 2 + 64) * sizeof *seen);
        memset(&seen[i], 0, sizeof *seen);
        strcpy(seen[i].text, text);
        seen[i].type = event->type;
        seen[i].tid = event->tid;
        seen_count++;
    }
    seen[i].value_ns += (uint64_t)event->value;
    seen[i].count += event->count;
}

static void forget_seen(void) {
    si__drain_events(drain, note, NULL);
    seen_count = 0;
    seen_ns = seen_events = 0;
}

/* CPU time of stacks that hold `part`. */
__attribute__((unused)) static uint64_t ns_of(const char *part) {
    uint64_t sum = 0;
    for (size_t i = 0; i < seen_count; i++)
        if (seen[i].type == SI__EVENT_CPU && strstr(seen[i].text, part)) sum += seen[i].value_ns;
    return sum;
}

static void print_seen(void) {
    for (size_t i = 0; i < seen_count; i++)
        print_message("%8.1f ms  type %d  %s\n", (double)seen[i].value_ns / 1e6, seen[i].type, seen[i].text);
}

/* ---- What Lua programs may call ---- */

static int lua_burn(lua_State *L) { /* burn(milliseconds): in C */
    burn((uint64_t)(luaL_checknumber(L, 1) * 1e6));
    return 0;
}

static int lua_call_back(lua_State *L) { /* call(f, ...): C that calls Lua and burns a little itself */
    sink += spin_b(2000);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static int lua_cpu_ms(lua_State *L) {
    lua_pushnumber(L, (double)cpu_ns() / 1e6);
    return 1;
}

static int lua_drain(lua_State *L) {
    (void)L;
    si__drain_events(drain, note, NULL);
    return 0;
}

static const luaL_Reg provided[] = {
    {"burn", lua_burn}, {"call", lua_call_back}, {"cpu_ms", lua_cpu_ms}, {"drain", lua_drain}, {NULL, NULL}};

static lua_State *new_state(void) {
    lua_State *L = luaL_newstate();
    assert_non_null(L);
    luaL_openlibs(L);
    lua_pushglobaltable(L);
    luaL_setfuncs(L, provided, 0);
    lua_settop(L, 0);
    return L;
}

__attribute__((unused)) static lua_State *attached_state(void) {
    lua_State *L = new_state();
    assert_int_equal(SI_LUA_ATTACH(NULL, L), 0);
    return L;
}

static void run(lua_State *L, const char *text) {
    if (luaL_loadbuffer(L, text, strlen(text), "=spec") != LUA_OK || lua_pcall(L, 0, LUA_MULTRET, 0) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
}

static double number_global(lua_State *L, const char *name) {
    lua_getglobal(L, name);
    double value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value;
}

#endif
