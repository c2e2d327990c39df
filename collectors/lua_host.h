/* States that attach themselves: lua_host.c. For the collector (lua_vm.c). */
#ifndef SI_LUA_HOST_H
#define SI_LUA_HOST_H

#include "native/hook.h"

enum { SI__LUA_COPIES = 2 }; /* shared libraries of Lua 5.4 that one process has */

extern const si__hook_table si__lua_host_hooks[SI__LUA_COPIES];

#endif
