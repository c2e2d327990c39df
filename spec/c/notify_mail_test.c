/*
 * Mail to real SMTP servers: proper, proof against injection, encrypted, logged in, and again when it was refused. One
 * server is Python's aiosmtpd; the other is exim, where it is installed (or SI_EXIM says where it is).
 */
#include "notify_world.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "temporary_dir.h"

/* ---- A server of Python's ---- */

typedef struct smtp_server {
    pid_t pid;
    int in, out; /* its standard input and output */
    unsigned port;
} smtp_server;

static void read_line(int fd, char *out, size_t bytes) {
    size_t n = 0;
    struct pollfd ready = {fd, POLLIN, 0};
    while (n + 1 < bytes && poll(&ready, 1, 20000) == 1 && read(fd, out + n, 1) == 1 && out[n] != '\n') n++;
    out[n] = '\0';
}

static smtp_server smtp_start(char *const arguments[]) {
    smtp_server s;
    int in[2], out[2];
    char *argv[12] = {"python3", SI_SOURCE_DIR "/spec/c/smtp_server.py"}, line[64];
    for (int i = 0; arguments[i]; i++) argv[2 + i] = arguments[i];
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
    s.pid = fork();
    if (s.pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execv("/usr/bin/python3", argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    s.in = in[1];
    s.out = out[0];
    read_line(s.out, line, sizeof line);
    s.port = (unsigned)atoi(line);
    assert_true(s.port > 0);
    return s;
}

static void smtp_stop(smtp_server *s) {
    close(s->in);
    close(s->out);
    kill(s->pid, SIGTERM);
    waitpid(s->pid, NULL, 0);
}

static si__json *next_mail(smtp_server *s) {
    static char line[65536];
    si__json *root;
    read_line(s->out, line, sizeof line);
    if (si__json_parse(line, strlen(line), &root, NULL, 0)) fail_msg("no mail: %s", line);
    return root;
}

static void test_a_mail_is_proper_and_cannot_be_injected_into(void **state) {
    (void)state;
    world w;
    smtp_server s = smtp_start((char *[]){NULL});
    begin(&w);
    load(&w,
         "{\"channels\":{\"email:leads\":{\"smtp\":\"smtp://"
         "127.0.0.1:%u\",\"tls\":\"none\",\"from\":\"si@example.org\",\"to\":[\"a@example.org\",\"b@example.org\"]}}}",
         s.port);
    si__alert a =
        alert_of("evil\r\nBcc: victim@example.org\r\n\r\nbody", "CPU \xc3\xa9lev\xc3\xa9\xff", SI__ALERT_FIRING);
    a.detail = "line\r\n.\r\nMAIL FROM:<x@y>\n.\n=3D trailing "
               "\nlooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooong";
    send_alerts(&w, "email:leads", &a, 1);
    LOOP_UNTIL(&w.loop, w.sent == 1);
    si__json *mail = next_mail(&s);
    const char *data = si__json_get_string(mail, "data", "");
    assert_string_equal(si__json_get_string(mail, "from", ""), "si@example.org");
    assert_int_equal(si__json_get(mail, "to")->count, 2);
    const char *body = strstr(data, "\r\n\r\n");
    assert_non_null(body);
    const char *names[] = {"From: <si@example.org>\r\n",
                           "To: <a@example.org>,\r\n <b@example.org>\r\n",
                           "MIME-Version: 1.0\r\n",
                           "Message-ID: <si-",
                           "\r\nDate: ",
                           "References: <si-alert-00112233445566778899aabbccddeeff@example.org>\r\n",
                           "Subject: =?UTF-8?Q?=5BFIRING=5D_evil"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *found = strstr(data, names[i]);
        if (!found || found > body) fail_msg("no %s in the head of %s", names[i], data);
    }
    const char *bcc = strstr(data, "\nBcc:");
    assert_true(!bcc || bcc > body);
    for (const char *line = data; *line;) { /* every line ends in CRLF and is short */
        size_t length = strcspn(line, "\r\n");
        assert_true(length <= 78);
        assert_memory_equal(line + length, "\r\n", 2);
        line += length + 2;
    }
    assert_non_null(strstr(body, "CPU =C3=A9lev=C3=A9?"));
    assert_non_null(strstr(body, "=3D3D trailing=20\r\n"));
    assert_non_null(strstr(body, "https://si.example.org/alerts"));
    si__json_free(mail);
    end(&w);
    smtp_stop(&s);
}

static void test_a_mail_refused_for_now_goes_later(void **state) {
    (void)state;
    world w;
    smtp_server s = smtp_start((char *[]){"--refuse", "1", "451", NULL});
    begin(&w);
    load(&w,
         "{\"channels\":{\"email:leads\":{\"smtp\":\"smtp://"
         "127.0.0.1:%u\",\"tls\":\"none\",\"from\":\"si@example.org\",\"to\":[\"a@example.org\"]}}}",
         s.port);
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_RESOLVED);
    send_alerts(&w, "email:leads", &a, 1);
    LOOP_UNTIL(&w.loop, w.sent == 1);
    assert_int_equal(w.retries, 1);
    assert_non_null(strstr(w.events, "retry 1 SMTP 451"));
    si__json *mail = next_mail(&s);
    assert_non_null(
        strstr(si__json_get_string(mail, "data", ""), "Subject: [RESOLVED] cpu_high: x (shop/production)\r\n"));
    si__json_free(mail);
    end(&w);
    smtp_stop(&s);
}

static void test_mail_over_tls_with_a_log_in(void **state) {
    (void)state;
    char dir[64], cert[100], key[100], password[100];
    temporary_dir_make(dir);
    if (!temporary_certificate(dir, cert, key)) {
        temporary_dir_remove(dir);
        print_message("no openssl: mail over TLS is left out\n");
        skip();
    }
    snprintf(password, sizeof password, "%s/password", dir);
    FILE *file = fopen(password, "w");
    fputs("pass word\n", file);
    fclose(file);
    smtp_server s = smtp_start((char *[]){"--tls", cert, key, NULL});
    static const char format[] = "{\"channels\":{\"email:leads\":{\"smtp\":\"smtp://"
                                 "127.0.0.1:%u\",\"user\":\"si\",\"password\":\"file:%s\",\"from\":\"si@example.org\","
                                 "\"to\":[\"a@example.org\"]}}}";
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING);
    world w;
    begin(&w); /* without its certificate it is not trusted */
    load(&w, format, s.port, password);
    send_alerts(&w, "email:leads", &a, 1);
    LOOP_UNTIL(&w.loop, w.retries == 1);
    assert_non_null(strstr(w.events, "SSL"));
    end(&w);
    begin_with_ca(&w, cert);
    load(&w, format, s.port, password);
    send_alerts(&w, "email:leads", &a, 1);
    LOOP_UNTIL(&w.loop, w.sent == 1);
    si__json *mail = next_mail(&s);
    assert_int_equal(si__json_get_bool(mail, "tls", 0), 1);
    assert_string_equal(si__json_get_string(mail, "user", ""), "si");
    si__json_free(mail);
    end(&w);
    smtp_stop(&s);
    temporary_dir_remove(dir);
}

static void test_one_bad_address_does_not_keep_a_mail_from_the_others(void **state) {
    (void)state;
    world w;
    static const char format[] = "{\"channels\":{\"email:leads\":{\"smtp\":\"smtp://127.0.0.1:%u\",\"tls\":\"none\","
                                 "\"from\":\"si@example.org\",\"to\":[\"gone@example.org\",\"b@example.org\"]}}}";
    smtp_server s = smtp_start((char *[]){"--never", "gone@example.org", NULL});
    begin(&w);
    load(&w, format, s.port);
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING);
    send_alerts(&w, "email:leads", &a, 1);
    for (int i = 1; i <= 2; i++) {
        LOOP_UNTIL(&w.loop, w.retries >= i);
        load(&w, format, s.port); /* a new try at once */
    }
    LOOP_UNTIL(&w.loop, w.sent == 1);
    assert_non_null(strstr(w.events, "retry 1 SMTP 550"));
    assert_non_null(strstr(w.log, "not every address"));
    si__json *mail = next_mail(&s);
    assert_int_equal(si__json_get(mail, "to")->count, 1);
    assert_string_equal(si__json_get(mail, "to")->first->text, "b@example.org");
    si__json_free(mail);
    end(&w);
    smtp_stop(&s);
}

/* ---- Exim: what people run ---- */

typedef struct exim {
    char dir[64], cert[100], key[100], config[100];
    unsigned port;
    pid_t pid;
} exim;

static const char *exim_binary(void) {
    const char *given = getenv("SI_EXIM");
    if (given) return given;
    return access("/usr/sbin/exim4", X_OK) == 0 ? "/usr/sbin/exim4" : NULL;
}

static unsigned free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    getsockname(fd, (struct sockaddr *)&address, &length);
    close(fd);
    return ntohs(address.sin_port);
}

/* Takes mail for anybody from those who log in over TLS, and keeps it in its queue. */
static void exim_configure(exim *e) {
    FILE *file = fopen(e->config, "w");
    assert_non_null(file);
    fprintf(
        file,
        "primary_hostname = mail.spec.example\nkeep_environment =\nspool_directory = %s\nlog_file_path = %s/%%slog\n"
        "pid_file_path = %s/pid\nlocal_interfaces = 127.0.0.1\ndaemon_smtp_ports = %u\n"
        "tls_certificate = %s\ntls_privatekey = %s\ntls_advertise_hosts = *\nqueue_only = true\n"
        "auth_advertise_hosts = ${if eq{$tls_in_cipher}{}{}{*}}\nhost_lookup =\nrfc1413_query_timeout = 0s\n"
        "acl_smtp_rcpt = check_rcpt\nacl_smtp_data = accept\nbegin acl\ncheck_rcpt:\n  accept authenticated = *\n"
        "  deny message = log in first\nbegin authenticators\nplain:\n  driver = plaintext\n  public_name = PLAIN\n"
        "  server_prompts = :\n  server_condition = ${if and{{eq{$auth2}{si}}{eq{$auth3}{pass word}}}}\n"
        "  server_set_id = $auth2\n",
        e->dir, e->dir, e->dir, e->port, e->cert, e->key);
    fclose(file);
}

static int exim_answers(const exim *e) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)e->port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int answers = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return answers;
}

/* 0: there is none, or it cannot be run by us. */
static int exim_start(exim *e) {
    const char *binary = exim_binary();
    int status = 1;
    *e = (exim){.port = free_port()};
    temporary_dir_make(e->dir);
    snprintf(e->config, sizeof e->config, "%s/exim.conf", e->dir);
    if (!binary || !temporary_certificate(e->dir, e->cert, e->key)) return 0;
    chmod(e->dir, 01777); /* started by root, exim works as a user of its own */
    chmod(e->key, 0644);
    exim_configure(e);
    e->pid = fork();
    if (e->pid == 0) {
        execl(binary, binary, "-C", e->config, "-bdf", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 500 && !exim_answers(e); i++) {
        if (waitpid(e->pid, &status, WNOHANG) == e->pid) return e->pid = 0;
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    return 1;
}

static void exim_stop(exim *e) {
    if (e->pid > 0) {
        kill(e->pid, SIGTERM);
        waitpid(e->pid, NULL, 0);
    }
    temporary_dir_remove(e->dir);
}

/* Everything that is in exim's queue, into out. */
static void exim_queue(const exim *e, char *out, size_t bytes) {
    char command[200];
    snprintf(command, sizeof command, "cat %s/input/*-H %s/input/*-D 2>/dev/null", e->dir, e->dir);
    FILE *pipe = popen(command, "r");
    out[pipe ? fread(out, 1, bytes - 1, pipe) : 0] = '\0';
    if (pipe) pclose(pipe);
}

static void test_mail_to_exim(void **state) {
    (void)state;
    exim e;
    if (!exim_start(&e)) {
        print_message("no exim that can be run: SI_EXIM=/usr/sbin/exim4\n");
        exim_stop(&e);
        skip();
    }
    static const char format[] =
        "{\"channels\":{\"email:leads\":{\"smtp\":\"smtp://127.0.0.1:%u\",\"user\":\"si\","
        "\"password\":\"%s\",\"from\":\"si@example.org\",\"to\":[\"a@example.org\",\"b@example."
        "org\"]}}}";
    char queue[65536];
    world w;
    begin_with_ca(&w, e.cert);
    load(&w, format, e.port, "wrong");
    const si__alert a = alert_of("cpu_high", "CPU \xc3\xa9lev\xc3\xa9", SI__ALERT_FIRING);
    send_alerts(&w, "email:leads", &a, 1);
    LOOP_UNTIL(&w.loop, w.retries == 1);
    exim_queue(&e, queue, sizeof queue);
    assert_string_equal(queue, "");
    load(&w, format, e.port, "pass word"); /* corrected: what waits goes at once */
    LOOP_UNTIL(&w.loop, w.sent == 1);
    assert_null(strstr(w.log, "pass word"));
    exim_queue(&e, queue, sizeof queue);
    const char *expected[] = {"-auth_id si",      "-tls_cipher TLS",     "a@example.org", "b@example.org",
                              "<si@example.org>", "CPU =C3=A9lev=C3=A9", "cpu_high"};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (!strstr(queue, expected[i])) fail_msg("no %s in %s", expected[i], queue);
    end(&w);
    exim_stop(&e);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_mail_is_proper_and_cannot_be_injected_into),
        cmocka_unit_test(test_a_mail_refused_for_now_goes_later),
        cmocka_unit_test(test_mail_over_tls_with_a_log_in),
        cmocka_unit_test(test_one_bad_address_does_not_keep_a_mail_from_the_others),
        cmocka_unit_test(test_mail_to_exim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
