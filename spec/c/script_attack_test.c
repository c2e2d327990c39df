/*
 * Rules that attack the engine, beside rules that mean no harm: in the same file and in files of their own. The
 * attacker is disabled with a reason, everybody else goes on as if nothing had happened, and all rules together stay
 * within 16 MiB. How long the longest step took is printed, and not judged: this machine may be busy.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "../../runtime/script/engine.h"
#include "si/si.h"

#define T0 ((int64_t)1700000000000)
#define INNOCENT(name)                                                                                                 \
    "rule '" name "' { watch = metric 'load', every = '1s', when = function(s) "                                       \
    "local t = {} for i = 1, 50 do t[i] = i .. '' end return s:avg('1m') > 5 and #t == 50 end, keep = '1s' }\n"
#define ATTACKER(body) "rule 'attacker' { watch = metric 'load', every = '1s', when = function(s) " body " end }\n"

typedef struct attack {
    const char *what, *text, *reason; /* reason: part of what is said about the attacker; NULL: it may go on */
} attack;

static const attack attacks[] = {
    {"endless loop", ATTACKER("while true do end"), "CPU time"},
    {"endless recursion by tail calls", ATTACKER("local function f() return f() end return f()"), "CPU time"},
    {"pcall trap", ATTACKER("while true do pcall(function() while true do end end) end"), "CPU time"},
    {"pcall trap around memory",
     ATTACKER("local t = {} while true do pcall(function() while true do t[#t + 1] = {} end end) end"), "attack.lua"},
    {"error in an error handler",
     ATTACKER("while true do pcall(error, setmetatable({}, { __tostring = function() while true do end end })) end"),
     "CPU time"},
    {"close trap",
     ATTACKER("local t <close> = setmetatable({}, { __close = function() while true do end end }) while true do end"),
     "CPU time"},
    {"memory bomb", ATTACKER("local t = {} while true do t[#t + 1] = {} end"), "memory"},
    {"memory bomb of text", ATTACKER("local s = 'x' while true do s = s .. s end"), "memory"},
    {"memory bomb of long texts", ATTACKER("local t = {} while true do t[#t + 1] = ('x'):rep(1e6) .. #t end"),
     "attack.lua"},
    {"memory kept in an upvalue", "local kept = {}\n" ATTACKER("while true do kept[#kept + 1] = {} end"), "memory"},
    {"memory kept in a global", "kept = {}\n" ATTACKER("while true do kept[#kept + 1] = ('x'):rep(1000) .. #kept end"),
     "memory"},
    {"memory kept little by little",
     "local kept = {}\n" ATTACKER("for i = 1, 2000 do kept[#kept + 1] = ('x'):rep(100) .. #kept end"), "memory"},
    {"memory kept and errors swallowed",
     "local kept = {}\n" ATTACKER("pcall(function() while true do kept[#kept + 1] = {} end end)"), NULL},
    {"pattern bomb", ATTACKER("return (('a'):rep(50)):find(('a*'):rep(40) .. 'b')"), "too expensive"},
    {"pattern bombs in a loop", ATTACKER("while true do pcall(string.find, ('a'):rep(500), ('a*'):rep(30) .. 'b') end"),
     "CPU time"},
    {"string.rep", ATTACKER("return #string.rep('x', 1e10) > 0"), "longer than 1 MiB"},
    {"string.format", ATTACKER("return #('%99.99f'):rep(10000):format(1) > 0"), "format"},
    {"comparisons of long texts",
     ATTACKER("local a, b = ('x'):rep(9e5) .. 'a', ('x'):rep(9e5) .. 'b' while true do local c = a < b end"),
     "CPU time"},
    {"counting characters of long texts", ATTACKER("local a = ('x'):rep(9e5) while true do utf8.len(a) end"),
     "CPU time"},
    {"deep recursion", ATTACKER("local function f(n) return 1 + f(n + 1) end return f(1) > 0"), "attack.lua"},
    {"deep recursion through C", ATTACKER("local function f(s) return (s:gsub('.', f)) end return f('x') == 'y'"),
     "overflow"},
    {"finalizer", ATTACKER("setmetatable({}, { __gc = function() while true do end end })"), "__gc"},
    {"metatable of texts", ATTACKER("getmetatable('').__index = function() return 1 end"), "getmetatable"},
    {"index trap", ATTACKER("return setmetatable({}, { __index = function() while true do end end }).x"), "CPU time"},
    {"length trap", ATTACKER("table.insert(setmetatable({}, { __len = function() return 1 << 60 end }), 1)"), "__len"},
    {"coroutine", ATTACKER("coroutine.wrap(function() while true do end end)()"), "coroutine"},
    {"bytecode", ATTACKER("return load('\\27Lua')"), "load"},
    {"dumped function", ATTACKER("return ('x').dump(function() end)"), "dump"},
    {"other rules' words", ATTACKER("rule 'more' { watch = metric 'x', when = function() end }"), "declared"},
    {"environment", ATTACKER("return io.open('/etc/passwd')"), "io"},
    {"error storm", ATTACKER("error(('x'):rep(1000))"), "xxx"},
    {"error of no text", ATTACKER("error({})"), "table value"},
    {"strange result", ATTACKER("return setmetatable({}, { __eq = error, __lt = error }), ('x'):rep(1e5)"), NULL},
    {"handle kept", "local kept\n" ATTACKER("if kept then return kept:last() > 0 end kept = s return false"),
     "earlier call"},
    {"goto loop", ATTACKER("::again:: pcall(error) goto again"), "CPU time"},
    {"for loops at the end of the integers",
     ATTACKER("for i = math.maxinteger - 1, math.maxinteger do end for i = math.mininteger, math.maxinteger do end"),
     "CPU time"},
    {"hanging __close in a killed call",
     ATTACKER(
         "local a <close> = setmetatable({}, { __close = function() while true do pcall(error) end end }) error('x')"),
     "CPU time"},
    {"__close that opens the next",
     ATTACKER("local function f(n) local x <close> = setmetatable({}, { __close = function() f(n + 1) end }) end f(1)"),
     "overflow"},
    {"sort with a bad comparator",
     ATTACKER("local t = {} for i = 1, 9999 do t[i] = i end while true do pcall(table.sort, t, function() return true "
              "end) end"),
     "CPU time"},
    {"sort of what hangs when compared",
     ATTACKER("local m = { __lt = function() while true do end end } local t = {} for i = 1, 50 do t[i] = "
              "setmetatable({}, m) end "
              "table.sort(t)"),
     "CPU time"},
    {"table.concat bomb",
     ATTACKER("local t, s = {}, ('x'):rep(9e5) for i = 1, 9 do t[i] = s end while true do pcall(table.concat, t) end"),
     "CPU time"},
    {"table.move over a metatable",
     ATTACKER("local t = setmetatable({}, { __index = function() return 1 end, __newindex = function() end }) "
              "while true do table.move(t, 1, 99999, 2, t) end"),
     "CPU time"},
    {"unpack", ATTACKER("while true do pcall(table.unpack, {}, 1, 99999) end"), "attack.lua"},
    {"deep pattern", ATTACKER("return (('a'):rep(9e5)):find(('('):rep(31) .. ('.-'):rep(40) .. (')'):rep(31) .. 'b')"),
     "too expensive"},
    {"error object that hangs as text",
     ATTACKER("error(setmetatable({}, { __tostring = function() while true do end end }))"), "table value"},
    {"seeds", ATTACKER("while true do math.randomseed(1, 2) math.random(0) end"), "CPU time"},
    {"library of the neighbour",
     ATTACKER("string.format = nil; string.rep = nil; table.concat = nil; math.floor = error; setmetatable = nil "
              "error('done')"),
     "done"},
    {"wide format", ATTACKER("return #string.format('%99999d', 1) > 0"), "invalid conversion"},
    {"log storm", ATTACKER("while true do print(('x'):rep(100)) end"), "CPU time"},
    {"summary",
     "rule 'attacker' { watch = metric 'load', every = '1s', keep = '1s', when = function(s) return s:age() < "
     "9e9 end, clear = function() return true end, summary = function(s) while true do end end }\n",
     "CPU time"},
};

typedef struct world {
    si__history *history;
    si__script *script;
    int64_t now_ms;
    int64_t longest_ns;
    size_t most_bytes;
    unsigned log_lines;
} world;

static void on_log(void *arg, int level, const char *message) {
    (void)level;
    (void)message;
    ((world *)arg)->log_lines++;
}

static void add(si__source_list *sources, const char *name, const char *text) {
    assert_int_equal(si__sources_add(sources, name, name, text, strlen(text)), 0);
}

static void begin(world *w, const char *attack_text) {
    char error[4096], text[8192];
    si__source_list sources = {0};
    *w = (world){.history = si__history_new(), .now_ms = T0};
    si__script_env env = {.history = w->history, .cpu_quota = 1, .arg = w, .log = on_log};
    w->script = si__script_new(&env);
    snprintf(text, sizeof text, "%s%s", attack_text, INNOCENT("neighbour"));
    add(&sources, "attack.lua", text);
    add(&sources, "other.lua", INNOCENT("other"));
    add(&sources, "segments.lua", "segment 'http .*' { name = function(n) return (n:gsub('%d+', ':id')) end }\n");
    int status = si__script_load_sources(w->script, &sources, 1, error, sizeof error);
    if (status) print_error("%s\n", error);
    assert_int_equal(status, 0);
}

static void end(world *w) {
    si__script_free(w->script);
    si__history_free(w->history);
}

static int64_t cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * (int64_t)1000000000 + now.tv_nsec;
}

static void run(world *w, int seconds, double load) {
    for (int i = 0; i < seconds; i++) {
        w->now_ms += 1000;
        si__history_add(w->history, SI__SERIES_METRIC, "load", w->now_ms, load);
        int64_t before = cpu_ns();
        si__script_tick(w->script, w->now_ms);
        int64_t took = cpu_ns() - before;
        if (took > w->longest_ns) w->longest_ns = took;
        if (w->script->set->pool.used_bytes > w->most_bytes) w->most_bytes = w->script->set->pool.used_bytes;
    }
}

static si__rule *rule_named(const world *w, const char *name) {
    for (size_t i = 0; i < w->script->set->rule_count; i++)
        if (strcmp(w->script->set->rules[i].name, name) == 0) return &w->script->set->rules[i];
    fail_msg("no rule %s", name);
    return NULL;
}

static si__alert_state state_of(const world *w, const char *name) {
    const si__instance *instance = si__instance_find(w->script, rule_named(w, name), "");
    return instance ? instance->alert.state : SI__ALERT_INACTIVE;
}

static void expect_unharmed(world *w) {
    char name[96];
    static const char *const innocents[] = {"neighbour", "other"};
    for (size_t i = 0; i < 2; i++) {
        const si__rule *rule = rule_named(w, innocents[i]);
        if (*rule->error) print_error("%s: %s\n", rule->name, rule->error);
        assert_int_equal(rule->disabled, 0);
        assert_string_equal(rule->error, "");
    }
    assert_int_equal(si__script_segment_name(w->script, "http /17", name, sizeof name), 1);
    assert_string_equal(name, "http /:id");
    assert_true(w->most_bytes <= w->script->set->pool.cap_bytes);
    /* what the language itself takes comes on top of the 16 MiB */
    assert_true(w->script->set->pool.cap_bytes < (18u << 20));
}

static void every_attack_ends_and_harms_nobody(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
        const attack *a = &attacks[i];
        world w;
        print_message("  %s", a->what);
        begin(&w, a->text);
        run(&w, 60, 1); /* nothing is wrong yet */
        assert_int_equal(state_of(&w, "other"), SI__ALERT_INACTIVE);
        run(&w, 100, 10); /* now the innocent ones must fire */
        assert_int_equal(state_of(&w, "other"), SI__ALERT_FIRING);
        assert_int_equal(state_of(&w, "neighbour"), SI__ALERT_FIRING);
        run(&w, 100, 0); /* and resolve */
        assert_int_equal(state_of(&w, "other"), SI__ALERT_RESOLVED);
        assert_int_equal(state_of(&w, "neighbour"), SI__ALERT_RESOLVED);
        expect_unharmed(&w);
        const si__rule *attacker = rule_named(&w, "attacker");
        print_message(": %.1f ms, %.1f MiB, %u log lines: %s\n", (double)w.longest_ns / 1e6,
                      (double)w.most_bytes / 1048576.0, w.log_lines, attacker->error);
        if (a->reason) {
            if (!attacker->disabled || !strstr(attacker->error, a->reason))
                print_error("%s: disabled %d, reason: %s\n", a->what, attacker->disabled, attacker->error);
            assert_int_equal(attacker->disabled, 1);
            assert_non_null(strstr(attacker->error, a->reason));
        }
        assert_true(w.log_lines < 500);
        end(&w);
    }
}

/* A hog in each of several files: none is over its own bound, all together are over what there is. */
static void files_that_share_too_much_pay_for_it(void **state) {
    (void)state;
    char error[4096], name[32], text[1024];
    si__source_list sources = {0};
    world w = {.history = si__history_new(), .now_ms = T0};
    si__script_env env = {.history = w.history, .cpu_quota = 1, .arg = &w, .log = on_log};
    w.script = si__script_new(&env);
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "hog%d.lua", i);
        snprintf(
            text, sizeof text,
            "local kept = {}\nrule 'hog%d' { watch = metric 'load', every = '1s', when = function(s) if #kept < 1700 "
            "then for i = 1, 20 do kept[#kept + 1] = ('x'):rep(1000) .. #kept end end end }",
            i);
        add(&sources, name, text);
    }
    add(&sources, "other.lua", INNOCENT("other"));
    assert_int_equal(si__script_load_sources(w.script, &sources, 1, error, sizeof error), 0);
    run(&w, 300, 1);
    assert_int_equal(state_of(&w, "other"), SI__ALERT_INACTIVE);
    run(&w, 100, 10);
    assert_int_equal(state_of(&w, "other"), SI__ALERT_FIRING);
    assert_int_equal(rule_named(&w, "other")->disabled, 0);
    assert_true(w.most_bytes <= SI__SANDBOX_MEMORY_BYTES + 13 * (256u << 10)); /* and the language, 13 times */
    assert_true(w.most_bytes > SI__SANDBOX_MEMORY_BYTES / 2);                  /* it was a matter of all together */
    end(&w);
}

/* Code at a file's top level attacks while the set is loaded: the set is refused, the old one stays. */
static void a_file_that_attacks_while_loading_is_refused(void **state) {
    (void)state;
    static const char *const files[] = {"while true do end",
                                        "while true do pcall(function() while true do end end) end",
                                        "kept = {} while true do kept[#kept + 1] = {} end",
                                        "local s = 'x' while true do s = s .. s end",
                                        "local t = {} for i = 1, 1e9 do t[i] = i .. '' end",
                                        "\27Lua",
                                        "local function f() return f() + 1 end f()"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char error[4096] = "", hash[64];
        si__source_list sources = {0};
        world w;
        begin(&w, ATTACKER("return false"));
        snprintf(hash, sizeof hash, "%s", si__script_hash(w.script));
        add(&sources, "bad.lua", files[i]);
        add(&sources, "other.lua", INNOCENT("other"));
        assert_int_equal(si__script_load_sources(w.script, &sources, 1, error, sizeof error), SI_ERULES);
        if (strncmp(error, "bad.lua", 7) != 0) print_error("%s: %s\n", files[i], error);
        assert_int_equal(strncmp(error, "bad.lua", 7), 0);
        assert_string_equal(si__script_hash(w.script), hash);
        run(&w, 20, 10);
        assert_int_equal(state_of(&w, "other"), SI__ALERT_FIRING);
        end(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_attack_ends_and_harms_nobody),
                                       cmocka_unit_test(files_that_share_too_much_pay_for_it),
                                       cmocka_unit_test(a_file_that_attacks_while_loading_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
