/* Workloads in C: callbacks called from inside libc, libcurl, liblua and libsqlite3, and hand-written code of
 * libcrypto. */
#include "unwind_workload.h"

#include <curl/curl.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fnmatch.h>
#include <ftw.h>
#include <glob.h>
#include <locale.h>
#include <math.h>
#include <regex.h>
#include <search.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

static workload_visit current;

static void call(void) {
    if (current) current();
}

/* ---- libc ---- */

static int compare_ints(const void *a, const void *b) {
    call();
    return *(const int *)a - *(const int *)b;
}
static int keep_entry(const struct dirent *e) {
    if (e->d_name[0] == '.') call();
    return e->d_name[0] != '.';
}
static int visit_file(const char *path, const struct stat *st, int type, struct FTW *where) {
    (void)path, (void)st, (void)type;
    if (where->base % 2) call();
    return 0;
}
static void visit_node(const void *node, VISIT which, int depth) {
    (void)node, (void)depth;
    if (which == postorder) call();
}
static void on_signal(int number) {
    (void)number;
    call();
}

static void sort_and_search(void) {
    int v[32], key = 17;
    for (int i = 0; i < 32; i++) v[i] = i * 13 % 32;
    qsort(v, 32, sizeof(*v), compare_ints);
    if (!bsearch(&key, v, 32, sizeof(*v), compare_ints)) abort();
    void *root = NULL;
    for (int i = 0; i < 16; i++) tsearch(&v[i], &root, compare_ints);
    twalk(root, visit_node);
    for (int i = 0; i < 16; i++) tdelete(&v[i], &root, compare_ints);
}

void workload_libc(workload_visit visit) {
    current = visit;
    sort_and_search();
    struct dirent **names;
    int n = scandir(SI_SOURCE_DIR "/collectors", &names, keep_entry, alphasort);
    for (int i = 0; i < n; i++) free(names[i]);
    if (n >= 0) free(names);
    nftw(SI_SOURCE_DIR "/include", visit_file, 8, FTW_PHYS);
    glob_t g = {0};
    if (glob(SI_SOURCE_DIR "/include/*/*.h", 0, NULL, &g) == 0) globfree(&g);
    char text[256];
    double x = 0.7;
    snprintf(text, sizeof(text), "%.17g %s %-10d %Lg %ls", sin(x) * exp(x) + pow(x, 3.1), "word", 42, (long double)x,
             L"wide");
    regex_t re;
    if (regcomp(&re, "([a-z]+)[0-9]*(x|y)+", REG_EXTENDED) == 0) {
        regexec(&re, "abc123xyxy", 0, NULL, 0);
        regfree(&re);
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* through the vdso */
    time_t t = time(NULL);
    struct tm tm;
    localtime_r(&t, &tm);
    strftime(text, sizeof(text), "%c", &tm);
    struct sigaction action = {.sa_handler = on_signal}, old;
    sigaction(SIGUSR2, &action, &old);
    raise(SIGUSR2); /* through the signal trampoline */
    sigaction(SIGUSR2, &old, NULL);
    void *lib = dlopen("libz.so.1", RTLD_NOW);
    if (lib) dlclose(lib);
}

/* ---- libcurl ---- */

static size_t on_body(char *data, size_t size, size_t count, void *arg) {
    (void)data, (void)arg;
    call();
    return size * count;
}
static int on_debug(CURL *handle, curl_infotype type, char *data, size_t size, void *arg) {
    (void)handle, (void)type, (void)data, (void)size, (void)arg;
    call();
    return 0;
}
static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    (void)arg, (void)a, (void)b, (void)c, (void)d;
    call();
    return 0;
}

void workload_curl(workload_visit visit) {
    current = visit;
    CURL *curl = curl_easy_init();
    if (!curl) abort();
    curl_easy_setopt(curl, CURLOPT_URL, "file://" SI_SOURCE_DIR "/CMakeLists.txt");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_VERBOSE, 1L);
    curl_easy_setopt(curl, CURLOPT_DEBUGFUNCTION, on_debug);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_perform(curl);
    curl_easy_cleanup(curl);
}

/* ---- liblua ---- */

static int lua_visit(lua_State *L) {
    call();
    lua_pushinteger(L, lua_gettop(L));
    return 1;
}
static int lua_fail(lua_State *L) {
    call();
    return luaL_error(L, "failed on purpose");
}

void workload_lua(workload_visit visit) {
    static const char script[] =
        "local t = {} for i = 1, 20 do t[i] = (i * 7) % 20 end\n"
        "table.sort(t, function(a, b) if a == 3 then visit() end return a < b end)\n"
        "local s = ('a1b2c3'):gsub('%d', function(d) return visit(d) end)\n"
        "local ok, e = pcall(fail) local co = coroutine.wrap(function() visit() coroutine.yield(visit()) end)\n"
        "co() co() local m = setmetatable({}, {__index = visit, __gc = visit}) local x = m.y m = nil collectgarbage()\n"
        "return s .. tostring(ok) .. string.format('%5.2f', 1.5) .. tostring(load('return 1 + 2')())";
    current = visit;
    lua_State *L = luaL_newstate();
    if (!L) abort();
    luaL_openlibs(L);
    lua_register(L, "visit", lua_visit);
    lua_register(L, "fail", lua_fail);
    if (luaL_dostring(L, script)) abort();
    lua_close(L);
}

/* ---- libsqlite3 ---- */

static void sql_visit(sqlite3_context *context, int count, sqlite3_value **values) {
    call();
    sqlite3_result_int(context, count ? sqlite3_value_int(values[0]) * 2 : 0);
}
static int sql_progress(void *arg) {
    (void)arg;
    call();
    return 0;
}
static int sql_trace(unsigned type, void *arg, void *a, void *b) {
    (void)type, (void)arg, (void)a, (void)b;
    call();
    return 0;
}
static int sql_collate(void *arg, int n, const void *a, int m, const void *b) {
    (void)arg;
    call();
    int c = memcmp(a, b, (size_t)(n < m ? n : m));
    return c ? c : n - m;
}
static int sql_row(void *arg, int count, char **values, char **names) {
    (void)arg, (void)count, (void)values, (void)names;
    call();
    return 0;
}

void workload_sqlite(workload_visit visit) {
    static const char *const statements[] = {
        "create table t(a integer primary key, b text collate visiting)",
        "insert into t(b) values ('delta'), ('alpha'), ('charlie'), ('bravo')",
        "create index i on t(b)",
        "select visit(a), b, count(*) from t where b like '%a%' group by b order by b desc",
        "with recursive n(x) as (select 1 union all select x + 1 from n where x < 20) select sum(visit(x)) from n",
    };
    current = visit;
    sqlite3 *db;
    if (sqlite3_open(":memory:", &db)) abort();
    sqlite3_create_function(db, "visit", 1, SQLITE_UTF8, NULL, sql_visit, NULL, NULL);
    sqlite3_create_collation(db, "visiting", SQLITE_UTF8, NULL, sql_collate);
    sqlite3_progress_handler(db, 50, sql_progress, NULL);
    sqlite3_trace_v2(db, SQLITE_TRACE_STMT | SQLITE_TRACE_ROW, sql_trace, NULL);
    for (size_t i = 0; i < sizeof(statements) / sizeof(*statements); i++)
        if (sqlite3_exec(db, statements[i], sql_row, NULL, NULL)) abort();
    sqlite3_close(db);
}

/* ---- libcrypto: assembly whose CFA hangs on odd registers and expressions ---- */

typedef unsigned char *(*digest_function)(const unsigned char *, size_t, unsigned char *);

void workload_crypto(workload_visit visit) {
    static const char *const names[] = {"SHA256", "SHA512", "SHA1", "MD5"};
    static void *lib;
    unsigned char data[4096], out[64];
    current = visit;
    if (!lib) lib = dlopen("libcrypto.so.3", RTLD_NOW);
    if (!lib) return;
    memset(data, 7, sizeof(data));
    for (size_t i = 0; i < 4; i++) {
        digest_function digest;
        *(void **)&digest = dlsym(lib, names[i]);
        if (digest) digest(data, 1000, out);
    }
    int (*mod_exp)(void *, const void *, const void *, const void *, void *);
    void *(*number)(void), *(*context)(void);
    int (*from_text)(void **, const char *);
    void (*release)(void *), (*release_context)(void *);
    *(void **)&mod_exp = dlsym(lib, "BN_mod_exp");
    *(void **)&number = dlsym(lib, "BN_new");
    *(void **)&context = dlsym(lib, "BN_CTX_new");
    *(void **)&from_text = dlsym(lib, "BN_hex2bn");
    *(void **)&release = dlsym(lib, "BN_free");
    *(void **)&release_context = dlsym(lib, "BN_CTX_free");
    if (!mod_exp || !number || !context || !from_text || !release || !release_context) return;
    static const char modulus[] = "f1e2d3c4b5a6978877665544332211000123456789abcdeff1e2d3c4b5a69788"
                                  "77665544332211000123456789abcdeff1e2d3c4b5a697887766554433221101";
    void *r = number(), *m = NULL, *ctx = context();
    from_text(&m, modulus);
    void *e = NULL;
    from_text(&e, "10001");
    mod_exp(r, e, e, m, ctx); /* Montgomery multiplication */
    release(r), release(m), release(e);
    release_context(ctx);
}
