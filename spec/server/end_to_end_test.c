/*
 * The whole path: a program under `si run`, reports over HTTP, a real dashboard, and what its API then says. And the
 * same with a wrong key, with a dashboard that is away, and with rules that are broken while the program runs.
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

#include "dashboard.h"

static char dir[] = "/tmp/si-end-to-end-XXXXXX";

static const char program[] =
    "#include <si/si.h>\n#include <time.h>\n"
    "__attribute__((noinline)) void find_primes(double s){struct timespec t;clock_gettime(CLOCK_THREAD_CPUTIME_ID,&t);"
    "double e=t.tv_sec+t.tv_nsec/1e9+s;do{for(volatile int i=0;i<20000;i++);clock_gettime(CLOCK_THREAD_CPUTIME_ID,&t);}"
    "while(t.tv_sec+t.tv_nsec/1e9<e);}\n"
    "int main(void){si_options o;si_options_init(&o);si_runtime*r=0;int rc=si_runtime_open(&r,&o);if(rc)return 9;\n"
    "for(int i=0;i<100;i++){SI_SEGMENT(\"search /orders/7\"){find_primes(0.01);}}\n"
    "for(int i=0;i<25;i++)si_error_record(\"out of <b>luck</b>\",\"no more primes\");\n"
    "si_gauge_set(\"primes.queue\",17);si_counter_add(\"primes.found\",100);\n"
    "return si_runtime_close(r,10000)==0?0:8;}\n";

static const char plain[] =
    "#include <time.h>\n__attribute__((noinline)) void chew(void){for(volatile long i=0;i<40000;i++);}\n"
    "int main(void){struct timespec t;do{chew();clock_gettime(CLOCK_PROCESS_CPUTIME_ID,&t);}while(t.tv_sec<1);return "
    "0;}\n";

static int shell(char *out, size_t out_bytes, const char *format, ...) {
    char command[4096], line[8192];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    snprintf(line, sizeof line, "cd %s && export LD_LIBRARY_PATH=%s/lib && { %s ; } 2>&1", dir, SI_BINARY_DIR, command);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    size_t got = fread(out, 1, out_bytes - 1, pipe);
    out[got] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void write_file(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state) {
    (void)state;
    char out[4096];
    assert_non_null(mkdtemp(dir));
    write_file("primes.c", program);
    write_file("plain.c", plain);
    int rc = shell(out, sizeof out,
                   "cc -O1 -g primes.c -I" SI_SOURCE_DIR "/include -L" SI_BINARY_DIR
                   "/lib -lsi -o primes && cc -O1 -g plain.c -o plain && mkdir rules");
    if (rc) print_message("%s\n", out);
    assert_int_equal(rc, 0);
    write_file("rules/segments.lua",
               "segment \"search .*\" { name = function(n) return (n:gsub(\"/%d+\", \"/:id\")) end }\n");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static int answer_has(person *p, const char *path, const char *needle) {
    reply r = person_ask(p, "GET", path, NULL);
    assert_int_equal(r.status, 200);
    int has = strstr(r.body, needle) != NULL;
    if (!has) print_message("%s has no %s:\n%.2000s\n", path, needle, r.body);
    reply_free(&r);
    return has;
}

static void what_a_program_records_is_what_people_see(void **state) {
    (void)state;
    dashboard d;
    char key[128], out[4096];
    dashboard_make(&d);
    dashboard_start(&d, (const char *const[]){"--no-self", NULL});
    dashboard_key(&d, "primes", "test", key);
    int rc = shell(out, sizeof out,
                   "SI_APP_NAME=primes SI_APP_ENVIRONMENT=test SI_APP_VERSION=2.5 SI_DASHBOARD_URL=%s SI_AGENT_KEY=%s "
                   "SI_RULES_DIR=rules ./primes",
                   d.url, key);
    assert_string_equal(out, "");
    assert_int_equal(rc, 0);
    person p;
    person_visit(&p, &d);
    person_sign_in(&p, &d);
    const char *where = "app=primes&env=test&from=0&to=9999999999999";
    char path[256];
    snprintf(path, sizeof path, "/profiles/tree?%s&type=cpu", where);
    assert_true(answer_has(&p, path, "find_primes"));
    assert_true(answer_has(&p, path, "primes.c"));
    snprintf(path, sizeof path, "/segments?%s", where);
    assert_true(answer_has(&p, path, "search /orders/:id"));
    assert_true(answer_has(&p, path, "\"count\":100"));
    snprintf(path, sizeof path, "/errors?%s", where);
    assert_true(answer_has(&p, path, "no more primes"));
    assert_true(answer_has(&p, path, "\"count\":25"));
    snprintf(path, sizeof path, "/health?%s", where);
    assert_true(answer_has(&p, path, "process.memory.usage"));
    assert_true(answer_has(&p, path, "primes.queue"));
    assert_true(answer_has(&p, "/sources?app=primes&env=test", "\"app_version\":\"2.5\""));
    dashboard_remove(&d);
}

static void an_unmodified_program_is_observed(void **state) {
    (void)state;
    dashboard d;
    char key[128], out[4096];
    dashboard_make(&d);
    dashboard_start(&d, (const char *const[]){"--no-self", NULL});
    dashboard_key(&d, "plain", "test", key);
    write_file("key", key);
    assert_int_equal(shell(out, sizeof out,
                           SI_BINARY_DIR "/bin/si run --dashboard %s --key-file key --env test --hz 100 -- ./plain",
                           d.url),
                     0);
    assert_string_equal(out, "");
    person p;
    person_visit(&p, &d);
    person_sign_in(&p, &d);
    assert_true(answer_has(&p, "/profiles/tree?app=plain&env=test&type=cpu&from=0&to=9999999999999", "chew"));
    dashboard_remove(&d);
}

static void a_wrong_key_is_said_and_nothing_is_lost(void **state) {
    (void)state;
    dashboard d;
    char key[128], out[4096];
    dashboard_make(&d);
    dashboard_start(&d, (const char *const[]){"--no-self", NULL});
    write_file("key", "si_0000000000000000_not-a-key\n");
    const char *run =
        SI_BINARY_DIR "/bin/si run --dashboard %s --key-file key --env test --state state --hz 100 -- ./plain";
    assert_int_equal(shell(out, sizeof out, run, d.url), 0);
    assert_non_null(strstr(out, "key"));
    assert_null(strstr(out, "not-a-key"));
    dashboard_key(&d, "plain", "test", key);
    write_file("key", key);
    assert_int_equal(shell(out, sizeof out, run, d.url), 0);
    person p;
    person_visit(&p, &d);
    person_sign_in(&p, &d);
    si__json *answer = person_get(&p, "/profiles?app=plain&env=test&type=cpu&from=0&to=9999999999999");
    const si__json *points = si__json_get(answer, "points");
    assert_true(points->count >= 2); /* that of the first run too */
    si__json_free(answer);
    dashboard_remove(&d);
}

static void a_dashboard_that_is_away_delays_nothing_but_reports(void **state) {
    (void)state;
    dashboard d;
    char key[128], out[4096];
    dashboard_make(&d);
    dashboard_start(&d, (const char *const[]){"--no-self", NULL});
    dashboard_key(&d, "plain", "test", key);
    write_file("key", key);
    dashboard_stop(&d, SIGKILL);
    const char *run =
        SI_BINARY_DIR "/bin/si run --dashboard %s --key-file key --env test --state away --hz 100 -- ./plain";
    assert_int_equal(shell(out, sizeof out, run, d.url), 0);
    assert_non_null(strstr(out, "kept for the next run"));
    dashboard_start(&d, (const char *const[]){"--no-self", NULL});
    assert_int_equal(shell(out, sizeof out, run, d.url), 0);
    person p;
    person_visit(&p, &d);
    person_sign_in(&p, &d);
    si__json *answer = person_get(&p, "/profiles?app=plain&env=test&type=cpu&from=0&to=9999999999999");
    assert_true(si__json_get(answer, "points")->count >= 2);
    si__json_free(answer);
    dashboard_remove(&d);
}

static void a_saved_rule_counts_at_once_and_a_broken_one_not_at_all(void **state) {
    (void)state;
    char out[8192];
    write_file("loop.c", "#include <unistd.h>\nint main(void){for(int i=0;i<80;i++)usleep(50000);return 0;}\n");
    assert_int_equal(shell(out, sizeof out,
                           "cc loop.c -o loop; mkdir live; "
                           "(sleep 1; echo 'rule \"x\" { when = }' > live/mine.lua; sleep 1.5; echo 'segment \"a\" { "
                           "name = \"b\" }' > live/mine.lua) & " SI_BINARY_DIR
                           "/bin/si run --rules live --debug -- ./loop"),
                     0);
    assert_non_null(strstr(out, "mine.lua:1:"));
    assert_non_null(strstr(out, "the ones before stay"));
    assert_non_null(strstr(out, "in force"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_program_records_is_what_people_see),
        cmocka_unit_test(an_unmodified_program_is_observed),
        cmocka_unit_test(a_wrong_key_is_said_and_nothing_is_lost),
        cmocka_unit_test(a_dashboard_that_is_away_delays_nothing_but_reports),
        cmocka_unit_test(a_saved_rule_counts_at_once_and_a_broken_one_not_at_all),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
