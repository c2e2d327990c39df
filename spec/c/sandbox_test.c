/*
 * Attacks on the sandbox: time, memory, patterns, recursion, and everything that must not be there.
 * No attack is timed: each must end with the right error, and the sandbox must work afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>

#include "../../runtime/script/pattern.h"
#include "../../runtime/script/sandbox.h"

static char error[1024];

/* Loads and runs text in an environment of its own; 0 or a Lua status, with the error in `error`. */
static int run_text(si__sandbox *s, const char *text, size_t length) {
    error[0] = '\0';
    si__sandbox_push_env(s->L);
    int status = si__sandbox_load(s, text, length, "@test.lua", error, sizeof error);
    if (!status) status = si__sandbox_call(s, 0, 0, error, sizeof error);
    assert_int_equal(lua_gettop(s->L), 0);
    return status;
}

static int run(si__sandbox *s, const char *text) {
    return run_text(s, text, strlen(text));
}

static void expect_fine(si__sandbox *s, const char *text) {
    if (run(s, text) == 0) return;
    print_error("%s\n", error);
    fail();
}

static void expect_error(si__sandbox *s, const char *text, const char *part) {
    if (run(s, text) == 0) {
        print_error("went through: %s\n", text);
        fail();
    }
    if (!strstr(error, part)) {
        print_error("expected \"%s\" in: %s\n", part, error);
        fail();
    }
    expect_fine(s, "assert(1 + 1 == 2)"); /* still usable */
}

static int make(void **state) {
    *state = si__sandbox_new(NULL, NULL);
    return *state ? 0 : -1;
}

static int drop(void **state) {
    si__sandbox_free(*state);
    return 0;
}

static void endless_loops_are_stopped(void **state) {
    si__sandbox *s = *state;
    expect_error(s, "while true do end", "CPU time");
    expect_error(s, "repeat until false", "CPU time");
    expect_error(s, "for i = 1, math.huge do end", "CPU time");
    expect_error(s, "::again:: goto again", "CPU time");
    expect_error(s, "local function f() return f() end f()", "CPU time");
    assert_int_not_equal(run(s, "\n\nwhile true do end"), 0);
    assert_non_null(strstr(error, "test.lua:3:")); /* and says where */
    assert_int_equal(s->out_of_time, 1);
}

static void pcall_cannot_swallow_the_kill(void **state) {
    si__sandbox *s = *state;
    expect_error(s, "local function loop() while true do end end while true do pcall(loop) end", "CPU time");
    expect_error(s, "local function f() pcall(f) while true do pcall(f) end end f()", "CPU time");
    expect_error(s,
                 "while true do pcall(error, setmetatable({}, { __tostring = function() while true do end end })) end",
                 "CPU time");
    expect_error(s,
                 "local t <close> = setmetatable({}, { __close = function() while true do end end }) while true do end",
                 "CPU time");
    expect_error(s, "error(setmetatable({}, { __tostring = function() while true do end end }))", "error object");
}

static void metamethods_are_no_way_out(void **state) {
    si__sandbox *s = *state;
    expect_error(s, "local t = setmetatable({}, { __index = function(t, k) while true do end end }) return t.x",
                 "CPU time");
    expect_error(s, "local t = {} setmetatable(t, { __index = t }) return t.x", "__index");
    expect_error(s, "local t = setmetatable({}, { __len = function() return 1 << 60 end }) table.insert(t, 1, 0)",
                 "__len");
    expect_error(s, "local t = setmetatable({}, { __len = function() return 1 << 60 end }) table.concat(t)", "__len");
    expect_error(s,
                 "for _ in pairs(setmetatable({}, { __pairs = function() return function() return 1 end end })) do end",
                 "CPU time");
}

static void memory_is_capped(void **state) {
    si__sandbox *s = *state;
    s->budget_ns = 30 * (int64_t)1000000000; /* memory is to end it, on a slow machine too */
    expect_error(s, "local t = {} for i = 1, math.huge do t[i] = i .. ' is a string of its own' end",
                 "not enough memory");
    expect_error(s, "local s = 'x' while true do s = s .. s end", "not enough memory");
    expect_error(s, "local t = {} while true do t = { t, {}, {}, {} } end", "not enough memory");
    expect_error(s, "local t = {} for i = 1, 1e9 do t[i] = 0 end", "not enough memory");
    s->budget_ns = SI__SANDBOX_CALL_NS;
    expect_error(s, "kept = {} while true do pcall(function() kept[#kept + 1] = ('x'):rep(1e6) end) end", "CPU time");
    for (int i = 0; i < 3; i++) lua_gc(s->L, LUA_GCCOLLECT, 0); /* Lua's table of strings halves each time */
    assert_true(s->used_bytes < 1 << 20);                       /* and it is given back */
    assert_true(s->used_bytes <= s->cap_bytes);
}

static void patterns_have_a_step_budget(void **state) {
    si__sandbox *s = *state;
    expect_error(s, "return (('a'):rep(50)):find(('a*'):rep(40) .. 'b')", "too expensive");
    expect_error(s, "return (('a'):rep(500)):match(('.-'):rep(30) .. 'b')", "too expensive");
    expect_error(s, "return (('a'):rep(50)):gsub(('a?'):rep(90) .. ('a'):rep(60), '')", "too e");
    expect_error(s, "for x in (('a'):rep(100)):gmatch(('a*'):rep(40) .. 'b') do end", "too expensive");
    expect_error(s, "return ('x'):find(('('):rep(500))", "too many captures");
    expect_error(s, "while true do pcall(string.find, ('a'):rep(500), ('a*'):rep(30) .. 'b') end", "CPU time");
    expect_error(s, "local t = ('a '):rep(50000) while true do t:gsub('%w', '%%') end", "CPU time");
}

static void strings_are_capped(void **state) {
    si__sandbox *s = *state;
    expect_error(s, "return ('x'):rep(1e9)", "longer than 1 MiB");
    expect_error(s, "return string.rep('x', 1e9)", "longer than 1 MiB");
    expect_error(s, "return ('x'):rep(1 << 62, 'yy')", "longer than 1 MiB");
    expect_error(s, "return ('ab'):gsub('%w', ('x'):rep(900000))", "longer than 1 MiB");
    expect_error(s, "local big = ('x'):rep(1 << 20) big = big .. big return big:find 'y'", "longer than 1 MiB");
    expect_error(s, "local big = ('x'):rep(1 << 20) return ('%s%s'):format(big, big)", "more than 1 MiB");
    expect_error(s, "local s = ('x'):rep(1 << 20) while true do s:upper() end", "CPU time");
    expect_error(s, "local a = ('x'):rep(1 << 20) local b = a .. 'y' while true do local c = a .. b < b .. a end", "");
    expect_fine(s, "assert(#('x'):rep(1 << 20) == 1 << 20) assert((''):rep(1e9) == '') assert(('x'):rep(-1) == '')");
    expect_fine(s, "assert(('ab'):rep(3, ',') == 'ab,ab,ab')");
}

static void tables_are_capped(void **state) {
    si__sandbox *s = *state;
    expect_error(s, "table.move({}, 1, 1e15, 2)", "100,000");
    expect_error(s, "table.concat({}, '', 1, 1e15)", "100,000");
    expect_error(s, "return table.unpack({}, 1, 1e9)", "100,000");
    expect_error(s, "local t = {} for i = 1, 20000 do t[i] = -i end table.sort(t)", "10,000");
    expect_error(s, "local t = {} for i = 1, 5000 do t[i] = i end table.sort(t, function() while true do end end)",
                 "CPU time");
    expect_fine(s, "local t = { 3, 1, 2 } table.sort(t) assert(table.concat(t, ',') == '1,2,3') assert(select('#', "
                   "table.unpack(t)) == 3)");
}

static void deep_recursion_ends(void **state) {
    si__sandbox *s = *state;
    expect_error(s, "local function f() return 1 + f() end f()", "");
    expect_error(s, "local function f() return pcall(f) or error 'x' end while true do f() end", "");
    expect_error(s,
                 "local t = {} for i = 1, 300 do t = setmetatable({}, { __index = t }) end local f f = function(n) "
                 "return tostring(setmetatable({}, { __tostring = function() return f(n + 1) end })) end f(1)",
                 "");
    char *deep = malloc(200001);
    memset(deep, '(', 100000);
    memset(deep + 100000, ')', 100000);
    deep[200000] = '\0';
    expect_error(s, deep, "");
    free(deep);
    expect_error(s, "return ('a'):rep(99):find(('(a'):rep(31) .. ('[a'):rep(3000))", "");
}

static void finalizers_are_refused(void **state) {
    si__sandbox *s = *state;
    expect_error(s, "setmetatable({}, { __gc = function() end })", "__gc");
    expect_error(s, "setmetatable({}, { __gc = true })", "__gc");
    /* added later it is never seen by the collector */
    expect_fine(
        s, "ran = false local mt = {} for i = 1, 10 do setmetatable({}, mt) end mt.__gc = function() ran = true end");
    lua_gc(s->L, LUA_GCCOLLECT, 0);
    lua_gc(s->L, LUA_GCCOLLECT, 0);
    expect_error(s, "setmetatable('x', {})", "table expected");
}

static void dangerous_names_are_absent(void **state) {
    si__sandbox *s = *state;
    const char *names[] = {"io",        "os",           "package",     "require",       "debug",
                           "load",      "loadstring",   "loadfile",    "dofile",        "collectgarbage",
                           "coroutine", "getmetatable", "rawset",      "rawget",        "xpcall",
                           "_G",        "string.dump",  "string.pack", "string.unpack", "warn"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char text[128];
        snprintf(text, sizeof text, "assert(%s == nil, '%s is there')", names[i], names[i]);
        expect_fine(s, text);
    }
    expect_fine(s, "for _, n in ipairs { 'dump', 'pack', 'unpack', 'packsize' } do assert(('')[n] == nil, n) end");
}

static void bytecode_is_refused(void **state) {
    si__sandbox *s = *state;
    assert_int_not_equal(run_text(s, "\x1bLua\x54\x00\x19\x93\r\n\x1a\n", 12), 0);
    assert_non_null(strstr(error, "binary"));
    expect_error(s, "\x1b", "");
}

static void files_do_not_share_globals(void **state) {
    si__sandbox *s = *state;
    expect_fine(s, "x = 1 string.upper = nil string.mine = 1 math.pi = 3 table.concat = nil print = nil");
    expect_fine(s, "assert(x == nil) assert(string.upper and not string.mine) assert(math.pi > 3.1) "
                   "assert(table.concat and print)");
    expect_fine(s, "assert(('x'):upper() == 'X')");
}

static void errors_carry_line_and_traceback(void **state) {
    si__sandbox *s = *state;
    assert_int_not_equal(run(s, "local function f()\n error 'boom'\nend\nf()"), 0);
    assert_non_null(strstr(error, "test.lua:2: boom"));
    assert_non_null(strstr(error, "stack traceback"));
    assert_int_not_equal(run(s, "x = = 1"), 0);
    assert_non_null(strstr(error, "test.lua:1:"));
    assert_int_not_equal(run(s, "error({})"), 0);
    assert_non_null(strstr(error, "table value"));
}

static char printed[256];
static void remember(void *owner, const char *text) {
    (void)owner;
    snprintf(printed, sizeof printed, "%s", text);
}

static void print_goes_to_the_owner(void **state) {
    si__sandbox *s = *state;
    expect_fine(s, "print 'nowhere'");
    s->print = remember;
    expect_fine(s, "print('a', 1, nil, true)");
    assert_string_equal(printed, "a\t1\tnil\ttrue");
}

/* Our matcher against what the Lua manual says, and against the standard library on the same inputs. */
static void patterns_equal_the_standard_library(void **state) {
    (void)state;
    si__sandbox *s = si__sandbox_new(NULL, NULL);
    lua_State *L = luaL_newstate();
    const char *subjects[] = {"",        "hello world",     "key = value",     "a.b.c",
                              "(x(y)z)", "http /orders/17", "THE (quick) fox", "aaa",
                              "[]]",     "a-b^c%d",         "x\n\ty"};
    const char *patterns[] = {
        "",          "l+",   "(%w+) = (%w+)", "%.",    "%b()",  "/%d+",  "%f[%a]%a+", "a-",      "a*",   "^a",
        "c$",        "[]]",  "[^%s]+",        "()l()", "(.)%1", "[a-c]", "%((%a+)%)", "[%w_]+",  ".-%s", "o?w",
        "^(.-)%s*$", "[a-]", "[-a]",          "%u%l*", "x$y",   "[^]]",  "%%",        "(a)(b)?", "$",    "^$",
        "%S+$"};
    luaL_requiref(L, "string", luaopen_string, 1);
    si__sandbox_push_env(s->L);
    lua_getfield(s->L, -1, "string");
    const char *functions[] = {"find", "match", "gsub"};
    for (size_t f = 0; f < 3; f++)
        for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++)
            for (size_t k = 0; k < sizeof patterns / sizeof *patterns; k++) {
                lua_State *states[2] = {L, s->L};
                int results[2], bases[2];
                for (int w = 0; w < 2; w++) {
                    bases[w] = lua_gettop(states[w]);
                    lua_getfield(states[w], w ? -1 : -1, functions[f]);
                    lua_pushstring(states[w], subjects[i]);
                    lua_pushstring(states[w], patterns[k]);
                    if (f == 2) lua_pushstring(states[w], "<%0>");
                    assert_int_equal(lua_pcall(states[w], f == 2 ? 3 : 2, LUA_MULTRET, 0), 0);
                    results[w] = lua_gettop(states[w]) - bases[w];
                }
                assert_int_equal(results[0], results[1]);
                for (int r = 1; r <= results[0]; r++) {
                    const char *x = luaL_tolstring(L, bases[0] + r, NULL);
                    const char *y = luaL_tolstring(s->L, bases[1] + r, NULL);
                    if (strcmp(x, y) != 0)
                        print_error("%s(\"%s\", \"%s\")[%d]: %s, not %s\n", functions[f], subjects[i], patterns[k], r,
                                    y, x);
                    assert_string_equal(x, y);
                }
                lua_settop(L, bases[0]);
                lua_settop(s->L, bases[1]);
            }
    lua_close(L);
    si__sandbox_free(s);
}

static void replacements_and_iteration(void **state) {
    si__sandbox *s = *state;
    expect_fine(s, "assert((('hello world'):gsub('o', '0')) == 'hell0 w0rld')");
    expect_fine(s, "assert((('hello'):gsub('l', '%%%0', 1)) == 'he%llo')");
    expect_fine(s, "assert((('$name is $age'):gsub('%$(%w+)', { name = 'Ann', age = 7 })) == 'Ann is 7')");
    expect_fine(s, "assert((('abc'):gsub('%w', function(c) if c == 'b' then return 'B' end end)) == 'aBc')");
    expect_fine(s, "assert((('abc'):gsub('', '-')) == '-a-b-c-')");
    expect_fine(s, "local n = 0 for k, v in ('a=1, b=2'):gmatch '(%w+)=(%w+)' do n = n + v end assert(n == 3)");
    expect_fine(s, "local t = {} for w in ('one two'):gmatch '%a*' do t[#t + 1] = w end assert(table.concat(t, '|') == "
                   "'one|two', table.concat(t, '|'))");
    expect_fine(s, "assert(('a.b'):find('.', 1, true) == 2) assert(('a+b'):find '+' == 2 or true) "
                   "assert(('abc'):find('b', -1) == nil)");
    expect_error(s, "return ('x'):gsub('x', '%2')", "invalid capture");
    expect_error(s, "return ('x'):gsub('x', '%z')", "replacement");
    expect_error(s, "return ('x'):find '['", "malformed");
    expect_error(s, "return ('x'):find '%'", "malformed");
    expect_error(s, "return ('x'):find '(x'", "unfinished");
    expect_error(s, "return ('x'):match 'x)'", "capture");
    expect_error(s, "return ('x'):gsub('x', true)", "string/function/table");
}

static void whole_matches_are_anchored(void **state) {
    (void)state;
    const char *why;
    assert_int_equal(si__pattern_whole("http .*", "http /x", &why), 1);
    assert_int_equal(si__pattern_whole("http", "http /x", &why), 0);
    assert_int_equal(si__pattern_whole("^http.*$", "http /x", &why), 1);
    assert_int_equal(si__pattern_whole("x%$", "x$", &why), 1);
    assert_int_equal(si__pattern_whole("x%$", "x", &why), 0);
    assert_int_equal(si__pattern_whole("x%%$", "x%", &why), 1);
    assert_int_equal(si__pattern_whole("", "", &why), 1);
    assert_int_equal(si__pattern_whole("[", "x", &why), -1);
    assert_non_null(why);
}

/* Memory that runs out at many points of a chunk: an error, a clean stack, and a state that goes on working. */
static void small_caps_fail_cleanly(void **state) {
    si__sandbox *s = *state;
    for (size_t extra = 0; extra < 30000; extra += 61) {
        lua_gc(s->L, LUA_GCCOLLECT, 0);
        s->cap_bytes = SI__SANDBOX_MEMORY_BYTES;
        si__sandbox_push_env(s->L);
        s->cap_bytes = s->used_bytes + extra;
        const char *text =
            "local t = {} for i = 1, 50 do t[i] = ('x'):rep(i) .. i end local ok = pcall(error, t) return #t";
        int status = si__sandbox_load(s, text, strlen(text), "@test.lua", error, sizeof error);
        if (!status) status = si__sandbox_call(s, 0, 0, error, sizeof error);
        assert_int_equal(lua_gettop(s->L), 0);
        assert_true(status == 0 || *error);
    }
    s->cap_bytes = SI__SANDBOX_MEMORY_BYTES;
    expect_fine(s, "assert(true)");
}

int main(void) {
#define ATTACK(test) cmocka_unit_test_setup_teardown(test, make, drop)
    const struct CMUnitTest tests[] = {
        ATTACK(endless_loops_are_stopped),
        ATTACK(pcall_cannot_swallow_the_kill),
        ATTACK(metamethods_are_no_way_out),
        ATTACK(memory_is_capped),
        ATTACK(patterns_have_a_step_budget),
        ATTACK(strings_are_capped),
        ATTACK(tables_are_capped),
        ATTACK(deep_recursion_ends),
        ATTACK(finalizers_are_refused),
        ATTACK(dangerous_names_are_absent),
        ATTACK(bytecode_is_refused),
        ATTACK(files_do_not_share_globals),
        ATTACK(errors_carry_line_and_traceback),
        ATTACK(print_goes_to_the_owner),
        cmocka_unit_test(patterns_equal_the_standard_library),
        ATTACK(replacements_and_iteration),
        cmocka_unit_test(whole_matches_are_anchored),
        ATTACK(small_caps_fail_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
