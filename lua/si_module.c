/*
 * The Lua module `si` (si.so, Lua 5.4): the public C API of libsi for programs written in Lua.
 *
 * Called by a host's Lua states, on the host's threads. It is a client of si.h like any other and knows nothing of the
 * runtime inside; the interpreter that loads it brings Lua. Comments that open with three stars are the reference of
 * the module (LDoc).
 */
#include <lauxlib.h>
#include <lua.h>
#include <si/si.h>
#include <string.h>

#define RUNTIME_TYPE "si.runtime"
#define SEGMENT_TYPE "si.segment"
#define CALL_TYPE "si.call"
#define HANDLED_TYPE "si.handled"

typedef struct lua_segment {
    si_segment segment;
    int running;
} lua_segment;

typedef struct lua_call_measured { /* an outgoing call, or a request that is being handled */
    si_call call;
    int running;
} lua_call_measured;

/***
Observes a Lua program: profiles it with its Lua functions, opens the runtime, measures segments, records errors, sets
metrics.
@module si
@usage
  local si = require "si"
  local runtime = assert(si.open { app_name = "mailer", state_dir = "/var/lib/mailer/si" })
  si.segment("send", send, message)
  runtime:close()
*/

/* nil, message: how a function here says that something did not work. [-0, +2, m] */
static int failed(lua_State *L, int error) {
    luaL_pushfail(L);
    lua_pushfstring(L, "%s (%s)", si_strerror(error), si_err_name(error));
    return 2;
}

/* The string option `name` of the table at 1, or `fallback`. It stays on the stack, so that it lives until open
 * returns. [-0, +1, e] */
static const char *string_option(lua_State *L, const char *name, const char *fallback) {
    if (lua_getfield(L, 1, name) == LUA_TNIL) return fallback;
    if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "option %s must be a string", name);
    return lua_tostring(L, -1);
}

/* [-1, +0, e] */
static int flag_option(lua_State *L, const char *name, int fallback) {
    int type = lua_getfield(L, 1, name);
    int value = type == LUA_TNIL ? fallback : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

/* Raises for a name that is no option: a typing error would otherwise go unseen. [-0, +0, e] */
static void refuse_unknown(lua_State *L) {
    static const char *const known[] = {"agent_key",     "app_name",  "app_version",   "app_environment", "host_name",
                                        "dashboard_url", "proxy_url", "ca_file",       "rules_dir",       "state_dir",
                                        "channels_file", "debug",     "auto_profiling"};
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        size_t i = 0;
        while (i < sizeof known / sizeof *known && strcmp(name, known[i]) != 0) i++;
        if (i == sizeof known / sizeof *known) luaL_error(L, "unknown option: %s", name);
    }
}

/***
Starts the runtime. There is one per process; options that are not given come from the SI_* environment variables.
@function open
@tparam[opt] table options strings `agent_key`, `app_name`, `app_version`, `app_environment`, `host_name`,
`dashboard_url`, `proxy_url`, `ca_file`, `rules_dir`, `state_dir`, `channels_file`; booleans `auto_profiling` (true),
`debug` (false)
@treturn runtime an object with `close` and `flush`, closed with the Lua state if not before; or nil and a message
@usage local runtime <close> = assert(si.open { app_name = "mailer" })
*/
/* [-0, +1|2, e] */
static int module_open(lua_State *L) {
    si_options options;
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_checkstack(L, 20, NULL);
    refuse_unknown(L);
    si_options_init(&options);
    options.agent_key = string_option(L, "agent_key", options.agent_key);
    options.app_name = string_option(L, "app_name", options.app_name);
    options.app_version = string_option(L, "app_version", options.app_version);
    options.app_environment = string_option(L, "app_environment", options.app_environment);
    options.host_name = string_option(L, "host_name", options.host_name);
    options.dashboard_url = string_option(L, "dashboard_url", options.dashboard_url);
    options.proxy_url = string_option(L, "proxy_url", options.proxy_url);
    options.ca_file = string_option(L, "ca_file", options.ca_file);
    options.rules_dir = string_option(L, "rules_dir", options.rules_dir);
    options.state_dir = string_option(L, "state_dir", options.state_dir);
    options.channels_file = string_option(L, "channels_file", options.channels_file);
    options.auto_profiling = flag_option(L, "auto_profiling", options.auto_profiling);
    options.debug = flag_option(L, "debug", options.debug);

    si_runtime **runtime = lua_newuserdatauv(L, sizeof *runtime, 0);
    *runtime = NULL;
    luaL_setmetatable(L, RUNTIME_TYPE);
    int error = si_runtime_open(runtime, &options);
    return error ? failed(L, error) : 1;
}

static uint32_t timeout_argument(lua_State *L, int index, lua_Integer fallback_ms) {
    lua_Integer timeout_ms = luaL_optinteger(L, index, fallback_ms);
    luaL_argcheck(L, timeout_ms >= 0 && timeout_ms <= 600000, index, "milliseconds, at most 600000");
    return (uint32_t)timeout_ms;
}

/***
Stops observing. What is pending goes to the dashboard, or else to the spool.
@function runtime:close
@tparam[opt=2000] integer timeout_ms milliseconds
@treturn boolean true (also when closed before); or nil and a message
*/
/* [-0, +1|2, e] */
static int runtime_close(lua_State *L) {
    si_runtime **runtime = luaL_checkudata(L, 1, RUNTIME_TYPE);
    uint32_t timeout_ms = timeout_argument(L, 2, 2000);
    si_runtime *open = *runtime;
    *runtime = NULL;
    int error = si_runtime_close(open, timeout_ms);
    if (error) return failed(L, error);
    lua_pushboolean(L, 1);
    return 1;
}

/* __gc and __close: the second argument of __close is an error object, not a timeout. [-0, +0, e] */
static int runtime_release(lua_State *L) {
    si_runtime **runtime = luaL_checkudata(L, 1, RUNTIME_TYPE);
    si_runtime *open = *runtime;
    *runtime = NULL;
    si_runtime_close(open, 2000);
    return 0;
}

/***
Sends a report now instead of at the next cadence, and waits until it is handed over.
@function runtime:flush
@tparam[opt=2000] integer timeout_ms milliseconds
@treturn boolean true; or nil and a message
*/
/* [-0, +1|2, e] */
static int runtime_flush(lua_State *L) {
    si_runtime **runtime = luaL_checkudata(L, 1, RUNTIME_TYPE);
    int error = si_runtime_flush(*runtime, timeout_argument(L, 2, 2000));
    if (error) return failed(L, error);
    lua_pushboolean(L, 1);
    return 1;
}

/* Stops once; further calls do nothing. Also __gc and __close. [-0, +0, e] */
static int segment_stop(lua_State *L) {
    lua_segment *measured = luaL_checkudata(L, 1, SEGMENT_TYPE);
    if (measured->running) si_segment_stop(&measured->segment);
    measured->running = 0;
    return 0;
}

/* Everything above the segment's object, which is at 3, was returned by the function. [-0, +*, e] */
static int segment_returned(lua_State *L, int status, lua_KContext context) {
    (void)status, (void)context;
    lua_segment *measured = lua_touserdata(L, 3);
    if (measured->running) si_segment_stop(&measured->segment);
    measured->running = 0;
    return lua_gettop(L) - 3;
}

/***
Measures the wall time of a code segment. With a function: calls it with the arguments and returns what it returns; the
segment ends with the function, by an error too. Without: returns an object that ends the segment by `stop()` or when it
is closed.
@function segment
@tparam string name at most 95 bytes are kept
@tparam[opt] function body may yield
@param[opt] ... for body
@return what body returns, or the object
@usage si.segment("checkout", pay, order)
@usage local s <close> = si.segment "checkout"
*/
/* [-0, +*, e] */
static int module_segment(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    int with_body = !lua_isnoneornil(L, 2);
    if (with_body) luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_segment *measured = lua_newuserdatauv(L, sizeof *measured, 0);
    measured->running = 0;
    luaL_setmetatable(L, SEGMENT_TYPE);
    if (!with_body) {
        si_segment_start(&measured->segment, name);
        measured->running = 1;
        return 1;
    }
    lua_insert(L, 3); /* name, body, object, arguments... */
    lua_toclose(L, 3);
    int arguments = lua_gettop(L) - 3;
    lua_pushvalue(L, 2);
    lua_insert(L, 4);
    si_segment_start(&measured->segment, name);
    measured->running = 1;
    lua_callk(L, arguments, LUA_MULTRET, 0, segment_returned);
    return segment_returned(L, LUA_OK, 0);
}

/* ---- Calls ---- */

/* Stops once; also __gc and __close. [-0, +0, e] */
static int call_stop(lua_State *L) {
    lua_call_measured *measured = luaL_checkudata(L, 1, CALL_TYPE);
    if (measured->running) si_call_stop(&measured->call);
    measured->running = 0;
    return 0;
}

/* [-0, +*, e] */
static int call_returned(lua_State *L, int status, lua_KContext context) {
    (void)status, (void)context;
    lua_call_measured *measured = lua_touserdata(L, 4);
    if (measured->running) si_call_stop(&measured->call);
    measured->running = 0;
    return lua_gettop(L) - 4;
}

/***
Measures an outgoing call, as `segment` does a segment: with a function, which is called, or without.
@function call
@tparam string kind `http`, `sql`, `cache`, `document` or `other`
@tparam string what the call without its values, such as `SELECT FROM orders`; at most 95 bytes are kept
@tparam[opt] function body may yield
@param[opt] ... for body
@return what body returns, or an object with `stop()`
@usage local rows = si.call("sql", "SELECT FROM orders", query, db, id)
*/
/* [-0, +*, e] */
static int module_call(lua_State *L) {
    static const char *const kinds[] = {"http", "sql", "cache", "document", "other", NULL};
    si_call_kind kind = (si_call_kind)(luaL_checkoption(L, 1, NULL, kinds) + 1);
    const char *what = luaL_checkstring(L, 2);
    int with_body = !lua_isnoneornil(L, 3);
    if (with_body) luaL_checktype(L, 3, LUA_TFUNCTION);
    lua_call_measured *measured = lua_newuserdatauv(L, sizeof *measured, 0);
    measured->running = 0;
    luaL_setmetatable(L, CALL_TYPE);
    if (!with_body) {
        si_call_start(&measured->call, kind, what);
        measured->running = 1;
        return 1;
    }
    lua_insert(L, 4); /* kind, what, body, object, arguments... */
    lua_toclose(L, 4);
    int arguments = lua_gettop(L) - 4;
    lua_pushvalue(L, 3);
    lua_insert(L, 5);
    si_call_start(&measured->call, kind, what);
    measured->running = 1;
    lua_callk(L, arguments, LUA_MULTRET, 0, call_returned);
    return call_returned(L, LUA_OK, 0);
}

/* ---- Handlers ---- */

static void handled(lua_call_measured *measured, int status) {
    if (measured->running) si_handler_stop(&measured->call, status);
    measured->running = 0;
}

/* Not stopped before: its coroutine was closed or forgotten. [-0, +0, e] */
static int handler_dropped(lua_State *L) {
    handled(luaL_checkudata(L, 1, HANDLED_TYPE), 499);
    return 0;
}

/* The object is at 1, the message handler at 2; what is above was returned, or is the error. [-0, +*, e] */
static int handler_returned(lua_State *L, int outcome, lua_KContext context) {
    (void)context;
    lua_call_measured *measured = lua_touserdata(L, 1);
    if (outcome != LUA_OK && outcome != LUA_YIELD) {
        handled(measured, 500);
        return lua_error(L);
    }
    lua_Integer status = lua_isinteger(L, 3) ? lua_tointeger(L, 3) : 200;
    handled(measured, status >= 100 && status <= 599 ? (int)status : 200);
    return lua_gettop(L) - 2;
}

/* What si.handler returns; upvalues: pattern, function. [-0, +*, e] */
static int handler_called(lua_State *L) {
    int arguments = lua_gettop(L);
    luaL_checkstack(L, 8, NULL);
    lua_call_measured *measured = lua_newuserdatauv(L, sizeof *measured, 0);
    measured->running = 0;
    luaL_setmetatable(L, HANDLED_TYPE);
    lua_insert(L, 1);
    lua_toclose(L, 1);
    lua_pushcfunction(L, si_lua_error);
    lua_insert(L, 2);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 3);
    si_handler_start(&measured->call, lua_tostring(L, lua_upvalueindex(1)));
    measured->running = 1;
    int outcome = lua_pcallk(L, arguments, LUA_MULTRET, 2, 0, handler_returned);
    return handler_returned(L, outcome, 0);
}

/***
Wraps a function that handles requests: every call of it is measured under the pattern. An integer from 100 to 599 that
it returns first is the HTTP status, else it is 200; an error is recorded with its Lua stack, counts as status 500, and
is raised again as it is.
@function handler
@tparam string pattern the route, such as `GET /orders/:id`, not the path; at most 95 bytes are kept
@tparam function body may yield
@treturn function to be called instead of body
@usage routes["GET /orders/:id"] = si.handler("GET /orders/:id", show_order)
*/
/* [-0, +1, e] */
static int module_handler(lua_State *L) {
    luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    lua_pushcclosure(L, handler_called, 2);
    return 1;
}

/* ---- Errors ---- */

/* The message handler is at 1; what is above was returned, or is the error. [-0, +*, e] */
static int pcall_returned(lua_State *L, int outcome, lua_KContext context) {
    (void)context;
    lua_pushboolean(L, outcome == LUA_OK || outcome == LUA_YIELD);
    lua_replace(L, 1);
    return lua_gettop(L);
}

/***
Calls a function as `pcall` does. An error is recorded too, with the Lua stack where it was raised, in a group for that
place. For the outermost calls of a program: errors that its work consists of would all be counted.
@function pcall
@tparam function body may yield
@param[opt] ... for body
@return true and what body returns; or false and the error
@usage local ok, why = si.pcall(serve, connection)
*/
/* [-0, +*, e] */
static int module_pcall(lua_State *L) {
    luaL_checkany(L, 1);
    lua_pushcfunction(L, si_lua_error);
    lua_insert(L, 1);
    int outcome = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, pcall_returned);
    return pcall_returned(L, outcome, 0);
}

/***
Records an error of the program, with the position of the caller before the message. Reports count errors per group.
@function error
@tparam string group few distinct values; at most 95 bytes are kept
@param message at most 255 bytes are kept; any value, as error objects are
@usage local ok, why = pcall(send, message); if not ok then si.error("send", why) end
*/
/* [-0, +0, e] */
static int module_error(lua_State *L) {
    const char *group = luaL_checkstring(L, 1);
    luaL_where(L, 1);
    luaL_tolstring(L, 2, NULL);
    lua_concat(L, 2);
    si_error_record(group, lua_tostring(L, -1));
    return 0;
}

/***
Sets a metric of the program to a value.
@function gauge
@tparam string name as in OpenTelemetry, such as `queue.length`; at most 95 bytes
@tparam number value
*/
/* [-0, +0, e] */
static int module_gauge(lua_State *L) {
    si_gauge_set(luaL_checkstring(L, 1), luaL_checknumber(L, 2));
    return 0;
}

/***
Adds to a metric that only grows; it is reported as a rate per second.
@function counter
@tparam string name as in OpenTelemetry, such as `mails.sent`; at most 95 bytes
@tparam[opt=1] number value at least 0
*/
/* [-0, +0, e] */
static int module_counter(lua_State *L) {
    lua_Number value = luaL_optnumber(L, 2, 1);
    luaL_argcheck(L, value >= 0, 2, "a counter only grows");
    si_counter_add(luaL_checkstring(L, 1), value);
    return 0;
}

/***
Profiles the running Lua state: its functions appear in CPU, heap and wait stacks. `require "si"` has done so; to be
called again when another thread runs the state from now on.
@function attach
@treturn boolean true; or nil and why not
*/
/* [-0, +1|2, m] */
static int module_attach(lua_State *L) {
    if (SI_LUA_ATTACH(NULL, L) == 0) {
        lua_pushboolean(L, 1);
        return 1;
    }
    luaL_pushfail(L);
    lua_pushstring(L, si_lua_reason());
    return 2;
}

/***
Ends what `attach` began: the coroutine library and hooks are as they were.
@function detach
@treturn boolean whether the state was attached
*/
/* [-0, +1, m] */
static int module_detach(lua_State *L) {
    lua_pushboolean(L, si_lua_detach(L) == 0);
    return 1;
}

/***
Closes a runtime: the same as `runtime:close`.
@function close
@tparam runtime runtime
@tparam[opt=2000] integer timeout_ms milliseconds
*/

/* [-nup, +0, m] */
static void make_type(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction release) {
    luaL_newmetatable(L, name);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, release);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, release);
    lua_setfield(L, -2, "__close");
    lua_pushliteral(L, "protected");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

SI_API int luaopen_si(lua_State *L);

/* [-0, +1, e] */
int luaopen_si(lua_State *L) {
    static const luaL_Reg functions[] = {{"open", module_open},
                                         {"close", runtime_close},
                                         {"segment", module_segment},
                                         {"call", module_call},
                                         {"handler", module_handler},
                                         {"pcall", module_pcall},
                                         {"error", module_error},
                                         {"gauge", module_gauge},
                                         {"counter", module_counter},
                                         {"attach", module_attach},
                                         {"detach", module_detach},
                                         {"_VERSION", NULL},
                                         {NULL, NULL}};
    static const luaL_Reg runtime_methods[] = {{"close", runtime_close}, {"flush", runtime_flush}, {NULL, NULL}};
    static const luaL_Reg segment_methods[] = {{"stop", segment_stop}, {NULL, NULL}};
    static const luaL_Reg call_methods[] = {{"stop", call_stop}, {NULL, NULL}}, none[] = {{NULL, NULL}};
    luaL_checkversion(L);
    make_type(L, RUNTIME_TYPE, runtime_methods, runtime_release);
    make_type(L, SEGMENT_TYPE, segment_methods, segment_stop);
    make_type(L, CALL_TYPE, call_methods, call_stop);
    make_type(L, HANDLED_TYPE, none, handler_dropped);
    SI_LUA_ATTACH(NULL, L); /* where that is not possible, the rest works; si.attach says why */
    luaL_newlib(L, functions);
    lua_pushstring(L, si_version());
    lua_setfield(L, -2, "_VERSION");
    return 1;
}
