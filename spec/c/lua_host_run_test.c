/*
 * Programs with a Lua inside that know nothing of us, under `si run`: hosts of a shared Lua 5.4 in all their shapes,
 * another Lua beside it, and the standalone interpreter. Hosts are compiled by the test; each is also run without us,
 * and must print the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SI SI_BINARY_DIR "/bin/si"

static char dir[] = "/tmp/si-lua-host-XXXXXX";

static int shell(char *out, size_t out_bytes, const char *format, ...) {
    char command[4096], line[8192];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    snprintf(line, sizeof line, "cd %s && { %s ; } 2>&1", dir, command);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    size_t got = fread(out, 1, out_bytes - 1, pipe);
    out[got] = '\0';
    return pclose(pipe);
}

static void write_file(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static const char host[] =
    "#include <dlfcn.h>\n#include <lua.h>\n#include <lauxlib.h>\n#include <lualib.h>\n#include <pthread.h>\n"
    "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
    "static const char prog[] =\n"
    " \"local function work(n)\\n local s = 0 for i = 1, n do s = s + i % 7 end return (s) end\\n\"\n"
    " \"local resumed = coroutine.wrap(function()\\n while true do work(1e6) coroutine.yield() end end)\\n\"\n"
    " \"for i = 1, 12 do work(1e6) resumed() end\\n\";\n"
    "static void *count(void *u, void *p, size_t o, size_t n) { *(long *)u += n > 0;\n"
    "  if (!n) { free(p); return 0; } return realloc(p, n); }\n"
    "static void run(lua_State *L) { if (luaL_dostring(L, prog)) puts(lua_tostring(L, -1)); }\n"
    "static void *thread(void *a) { long n = 0; lua_State *L = a ? lua_newstate(count, &n) : luaL_newstate();\n"
    "  luaL_openlibs(L); run(L); lua_close(L); return a; }\n"
    "static void *closes(void *L) { lua_close(L); return 0; }\n"
    "static int pmain(lua_State *L) { luaL_openlibs(L); run(L); return 0; }\n"
    "static int tb(lua_State *L) { luaL_traceback(L, L, lua_tostring(L, 1), 1); return 1; }\n"
    "static void scheduler(void) { lua_State *L = luaL_newstate(), *co[3]; int n; luaL_openlibs(L);\n"
    "  luaL_dostring(L, \"function job()\\n local function inner()\\n for i = 1, 1e6 do local x = i * i end end\\n\"\n"
    "    \"while true do inner() coroutine.yield() end end\");\n"
    "  for (int i = 0; i < 3; i++) { co[i] = lua_newthread(L); lua_getglobal(co[i], \"job\"); }\n"
    "  for (int k = 0; k < 15; k++) for (int i = 0; i < 3; i++) { lua_resume(co[i], 0, 0, &n); lua_pop(co[i], n); }\n"
    "  lua_close(L); }\n"
    "static void errors(void) { lua_State *L = luaL_newstate(); luaL_openlibs(L);\n"
    "  luaL_dostring(L, \"function bad(x)\\n return x.field\\nend\\nfunction outer(x)\\n bad(x)\\n return "
    "1\\nend\\n\"\n"
    "    \"function deep(n)\\n return 1 + deep(n + 1)\\nend\\nfunction object() error({}) end\\n\"\n"
    "    \"function fine(a, b) return a + b, 'x', nil end\");\n"
    "  static const char *const names[] = {\"outer\", \"deep\", \"object\", \"fine\", \"missing\"};\n"
    "  for (int h = 0; h < 3; h++) for (int i = 0; i < 5; i++) { int base = lua_gettop(L), handler = 0;\n"
    "    if (h && i == 1) continue;\n"
    "    if (h == 1) { lua_pushcfunction(L, tb); handler = lua_gettop(L); }\n"
    "    if (h == 2) { lua_getglobal(L, \"debug\"); lua_getfield(L, -1, \"traceback\"); lua_remove(L, -2);\n"
    "      handler = -4; }\n"
    "    lua_getglobal(L, names[i]); lua_pushinteger(L, 1); lua_pushinteger(L, 2);\n"
    "    int status = lua_pcall(L, 2, LUA_MULTRET, handler); printf(\"%s %d:\", names[i], status);\n"
    "    if (h == 1 && lua_tocfunction(L, base + 1) != tb) printf(\" another handler\");\n"
    "    for (int k = base + 1; k <= lua_gettop(L); k++) printf(\" [%s]\", lua_isstring(L, k) ? lua_tostring(L, k) : \n"
    "      luaL_typename(L, k)); puts(\"\"); lua_settop(L, base); }\n"
    "  lua_close(L); }\n"
    "static void other(const char *lib) { void *h = dlopen(lib, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);\n"
    "  if (!h) return;\n"
    "  void *(*make)(void) = dlsym(h, \"luaL_newstate\"); void (*open)(void *) = dlsym(h, \"luaL_openlibs\");\n"
    "  int (*load)(void *, const char *) = dlsym(h, \"luaL_loadstring\");\n"
    "  const char *(*text)(void *, int, void *) = dlsym(h, \"lua_tolstring\");\n"
    "  void (*end)(void *) = dlsym(h, \"lua_close\");\n"
    "  int (*call)(void *, int, int, int) = dlsym(h, \"lua_pcall\");\n"
    "  int (*callk)(void *, int, int, int, long, void *) = dlsym(h, \"lua_pcallk\");\n"
    "  void *L = make(); open(L); load(L, \"local function f(n) local s = 0 for i = 1, n do s = s + i % 7 end return "
    "\"\n"
    "    \"s end local co = coroutine.wrap(function() while true do coroutine.yield(f(1e6)) end end) \"\n"
    "    \"for i = 1, 8 do f(1e6) co() end return _VERSION .. ' ' .. f(100)\");\n"
    "  int status = callk ? callk(L, 0, 1, 0, 0, 0) : call(L, 0, 1, 0);\n"
    "  printf(\"%d %s\\n\", status, text(L, -1, 0)); end(L); }\n"
    "int main(int c, char **v) { const char *m = c > 1 ? v[1] : \"plain\"; pthread_t t[3]; lua_State *L;\n"
    "  if (!strcmp(m, \"plain\")) thread(0);\n"
    "  if (!strcmp(m, \"pmain\")) { L = luaL_newstate(); lua_pushcfunction(L, pmain); lua_pcall(L, 0, 0, 0);\n"
    "    pthread_create(t, 0, closes, L); pthread_join(t[0], 0); }\n"
    "  if (!strcmp(m, \"threads\")) { for (long i = 0; i < 3; i++) pthread_create(t + i, 0, thread, (void *)i);\n"
    "    for (int i = 0; i < 3; i++) pthread_join(t[i], 0); }\n"
    "  if (!strcmp(m, \"scheduler\")) scheduler();\n"
    "  if (!strcmp(m, \"errors\")) errors();\n"
    "  if (!strcmp(m, \"beside\")) { other(\"libluajit-5.1.so.2\"); other(\"liblua5.3.so.0\"); thread(0);\n"
    "    other(\"libluajit-5.1.so.2\"); }\n"
    "  return 0; }\n";

static int set_up(void **state) {
    char out[8192];
    (void)state;
    if (!mkdtemp(dir)) return -1;
    write_file("host.c", host);
    int status = shell(out, sizeof out,
                       "flags=$(pkg-config --cflags lua5.4) && cc -O1 -g $flags host.c -o host -llua5.4 -lpthread -ldl "
                       "&& cc -O1 -g -Wl,-z,now $flags host.c -o host_now -llua5.4 -lpthread -ldl");
    if (status != 0) print_message("%s\n", out);
    return status;
}

static int tear_down(void **state) {
    char out[256];
    (void)state;
    return shell(out, sizeof out, "rm -rf %s", dir);
}

/* Runs it without us and with us; the output must be the same, but for addresses. errors.txt is in `errors`: a program
   that ends in its first moments may be ahead of an agent that gets no time; a stack that says so is made again. */
static char errors[1 << 18];

static void same_with_us(const char *command) {
    static char alone[65536], observed[65536];
    int status = shell(alone, sizeof alone, "%s | sed 's/0x[0-9a-f]*//g'", command);
    for (int i = 0; i < 50; i++) {
        int with = shell(observed, sizeof observed,
                         "rm -rf out; { %s run --hz 500 --folded out -- %s ; } | sed 's/0x[0-9a-f]*//g'", SI, command);
        assert_int_equal(status, with);
        assert_string_equal(observed, alone);
        shell(errors, sizeof errors, "cat out/errors.txt 2>/dev/null || true");
        if (!strstr(errors, "[truncated]")) return;
    }
}

/* The part of all CPU time whose stacks match an awk expression. */
static double share_of(const char *pattern) {
    char out[256];
    assert_int_equal(
        shell(out, sizeof out,
              "awk '{ all += $NF } /%s/ { some += $NF } END { print some / (all + 0.001) }' out/cpu.folded", pattern),
        0);
    return atof(out);
}

static void states_of_a_shared_lua_are_attached(void **state) {
    (void)state;
    static const char *const hosts[] = {"./host plain", "./host pmain", "./host threads", "./host_now plain"};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        same_with_us(hosts[i]);
        double direct = share_of("main chunk;work"), resumed = share_of("main chunk;function <.*>;work");
        print_message("%s: %.2f direct, %.2f in a coroutine\n", hosts[i], direct, resumed);
        assert_true(direct > 0.2 && resumed > 0.2);
    }
}

static void a_scheduler_in_c_is_followed(void **state) {
    (void)state;
    same_with_us("./host scheduler");
    assert_true(share_of("main;.*;inner") > 0.8);
}

static void errors_that_reach_the_host_have_a_lua_stack(void **state) {
    (void)state;
    const char *out = errors;
    same_with_us("./host errors");
    assert_non_null(strstr(out, "\nLua error at [string \"function bad(x)...\"]:2\n    3 times: "));
    assert_non_null(strstr(out, "\nLua error at [string \"function bad(x)...\"]:9\n    1 time: "));
    assert_non_null(strstr(out, "\nLua error (a table)\n    3 times"));
    const char *stack = strstr(out, "      bad  ");
    assert_non_null(stack);
    assert_non_null(strstr(stack, "      function <[string \"function bad(x)...\"]:4>  "));
    assert_non_null(strstr(stack, "      errors  "));
    assert_null(strstr(out, "libsi-probe"));
}

static void another_lua_beside_is_left_alone(void **state) {
    (void)state;
    static const char *const hosts[] = {"./host beside", "./host_now beside"};
    for (size_t i = 0; i < 2; i++) {
        same_with_us(hosts[i]);
        assert_true(share_of("main chunk;.*work") > 0.1);
    }
}

/* ---- The interpreter ---- */

typedef struct ending {
    const char *command;
    const char *group; /* NULL: none */
    const char *frame; /* of its stack */
} ending;

static void a_script_that_ends_by_an_error_is_recorded(void **state) {
    (void)state;
    static const ending endings[] = {
        {"lua5.4 bad.lua 1 2", "Lua error at bad.lua:2\n    1 time: bad.lua:2: attempt to index a nil value", "middle"},
        {"lua5.4 - < bad.lua", "Lua error at stdin:2\n    1 time: ", "middle"},
        {"lua5.4 -e 'x = 1' -ey=2 bad.lua", "Lua error at bad.lua:2\n    1 time: ", "middle"},
        {"lua5.4 -l os -W -- bad.lua", "Lua error at bad.lua:2\n    1 time: ", "middle"},
        {"lua5.4 -e 'local function f() error \"no\" end f() x = 1'",
         "Lua error at (command line):1\n    1 time: ", "f"},
        {"LUA_INIT='error \"early\"' lua5.4 bad.lua", "Lua error at LUA_INIT:1\n    1 time: ", "main chunk"},
        {"lua5.4 object.lua", "Lua error (a table)\n    1 time", "main chunk"},
        {"lua5.4 deep.lua", "Lua error at deep.lua:1\n    1 time: deep.lua:1: stack overflow", "r"},
        {"lua5.4 fine.lua", NULL, NULL},
        {"lua5.4 exit.lua", NULL, NULL},
    };
    /* A sampler's hook may be in for a moment and counts only; one for calls is not to be seen. */
    write_file("bad.lua",
               "local function inner(x)\n return x.field\nend\nlocal function middle(x)\n local r = inner(x)\n"
               " return r\nend\nprint(select(2, debug.gethook()) or '')\nfor i = 1, 9 do pcall(error, 'caught') end\n"
               "middle(nil)\n");
    write_file("object.lua", "error(setmetatable({}, {__tostring = function() return 'text' end}))\n");
    write_file("deep.lua", "local function r(n) return 1 + r(n + 1) end r(1)\n");
    write_file("fine.lua", "pcall(error, 'caught') print(xpcall(error, debug.traceback, 'x'))\n");
    write_file("exit.lua", "os.exit(3)\n");
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const ending *e = &endings[i];
        const char *out = errors;
        char command[512], frame[64];
        const char *variable = strncmp(e->command, "LUA_INIT", 8) == 0 ? "env " : "";
        snprintf(command, sizeof command, "%s%s", variable, e->command);
        same_with_us(command);
        if (!e->group) {
            assert_null(strstr(out, "Lua error"));
            continue;
        }
        print_message("%s\n", e->command);
        const char *group = strstr(out, e->group);
        assert_non_null(group);
        assert_null(strstr(group + 1, "Lua error"));
        snprintf(frame, sizeof frame, "\n      %s  ", e->frame);
        assert_non_null(strstr(group, frame));
    }
}

#define TEST(function) cmocka_unit_test(function)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(states_of_a_shared_lua_are_attached), TEST(a_scheduler_in_c_is_followed),
                                       TEST(errors_that_reach_the_host_have_a_lua_stack),
                                       TEST(another_lua_beside_is_left_alone),
                                       TEST(a_script_that_ends_by_an_error_is_recorded)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
