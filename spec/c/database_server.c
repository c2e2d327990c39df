/* Starts and ends database servers: see database_server.h. The test's thread. */
#include "database_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void give_up(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

static int free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&address, length) != 0) give_up("no free port");
    getsockname(fd, (struct sockaddr *)&address, &length);
    close(fd);
    return ntohs(address.sin_port);
}

static int answers(int port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int ok = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return ok;
}

/* PostgreSQL listens before it lets anybody in: 1 when it takes a session's first message for good. */
static int postgres_lets_in(int port) {
    static const char hello[] = "\0\0\0\x23\0\3\0\0user\0si\0database\0postgres\0";
    _Static_assert(sizeof hello == 0x23, "the message says how long it is, with the NUL at its end");
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char first = 0;
    int ok = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
             send(fd, hello, sizeof hello, MSG_NOSIGNAL) == (ssize_t)sizeof hello && recv(fd, &first, 1, 0) == 1 &&
             first == 'R';
    close(fd);
    return ok;
}

static void begin(database_server *server) {
    strcpy(server->directory, "/tmp/si-database-XXXXXX");
    if (!mkdtemp(server->directory)) give_up("no directory");
    server->port = free_port();
    server->end_signal = SIGTERM;
}

/* The program at the first path of the list that exists; a pattern may stand for the version. */
static const char *program_at(const char *pattern) {
    static char path[256];
    glob_t found;
    if (glob(pattern, 0, NULL, &found) != 0 || found.gl_pathc == 0) {
        fprintf(stderr, "%s is not installed (./dev test installs it)\n", pattern);
        abort();
    }
    snprintf(path, sizeof path, "%s", found.gl_pathv[found.gl_pathc - 1]);
    globfree(&found);
    return path;
}

/* `as_nobody` 1: when this is root, the program runs as nobody. Its output goes to DIRECTORY/log. */
static pid_t spawn(database_server *server, int as_nobody, const char *program, const char *const argv[]) {
    char log[96];
    snprintf(log, sizeof log, "%s/log", server->directory);
    const struct passwd *nobody = getpwnam("nobody");
    if (as_nobody && geteuid() == 0 && (!nobody || chown(server->directory, nobody->pw_uid, nobody->pw_gid) != 0))
        give_up("nobody is nobody");
    pid_t child = fork();
    if (child) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* no server outlives the test */
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666), null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    dup2(fd, 1);
    dup2(fd, 2);
    if (as_nobody && geteuid() == 0) {
        if (setgroups(0, NULL) != 0 || setgid(nobody->pw_gid) != 0 || setuid(nobody->pw_uid) != 0) _exit(126);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    if (chdir(server->directory) != 0) _exit(125);
    execv(program, (char *const *)(uintptr_t)argv);
    _exit(127);
}

static void show_log(const database_server *server) {
    char command[128];
    snprintf(command, sizeof command, "tail -20 %s/log >&2", server->directory);
    if (system(command) != 0) fprintf(stderr, "no log\n");
}

static void run_to_end(database_server *server, int as_nobody, const char *const argv[]) {
    int status;
    pid_t child = spawn(server, as_nobody, argv[0], argv);
    if (waitpid(child, &status, 0) == child && status == 0) return;
    show_log(server);
    give_up("the server's files could not be made");
}

static void wait_until_up(database_server *server, int (*is_up)(int port)) {
    struct timespec nap = {0, 20000000};
    int status;
    for (int i = 0; i < 3000; i++) {
        if (is_up(server->port)) return;
        if (waitpid(server->pid, &status, WNOHANG) == server->pid) break;
        nanosleep(&nap, NULL);
    }
    show_log(server);
    give_up("the server does not come up");
}

void redis_server_start(database_server *server) {
    char port[8];
    begin(server);
    snprintf(port, sizeof port, "%d", server->port);
    /* The server is in Debian's redis-tools, under another name; the package redis-server only starts it as a service.
     */
    const char *const argv[] = {"redis-server",           "--bind", "127.0.0.1", "--port",          port, "--save", "",
                                "--enable-debug-command", "yes",    "--dir",     server->directory, NULL};
    server->pid = spawn(server, 0, program_at("/usr/bin/redis-check-rdb"), argv);
    wait_until_up(server, answers);
}

void postgres_server_start(database_server *server) {
    char data[96], port[8], initdb[256];
    begin(server);
    snprintf(data, sizeof data, "%s/data", server->directory);
    snprintf(port, sizeof port, "%d", server->port);
    snprintf(initdb, sizeof initdb, "%s", program_at("/usr/lib/postgresql/*/bin/initdb"));
    const char *const make[] = {initdb,       "-D", data,   "-U", "si", "-A", "trust", "--no-sync", "--no-instructions",
                                "--locale=C", "-E", "UTF8", NULL};
    run_to_end(server, 1, make);
    const char *const argv[] = {program_at("/usr/lib/postgresql/*/bin/postgres"),
                                "-D",
                                data,
                                "-p",
                                port,
                                "-h",
                                "127.0.0.1",
                                "-k",
                                server->directory,
                                "-F",
                                NULL};
    server->end_signal = SIGQUIT; /* at once, without a checkpoint */
    server->pid = spawn(server, 1, argv[0], argv);
    wait_until_up(server, postgres_lets_in);
}

void mariadb_server_start(database_server *server) {
    char data[96], port[24], socket_path[112];
    begin(server);
    snprintf(data, sizeof data, "--datadir=%s", server->directory);
    snprintf(port, sizeof port, "--port=%d", server->port);
    snprintf(socket_path, sizeof socket_path, "--socket=%s/socket", server->directory);
    /* Without system tables: nobody needs to be told apart, and they take seconds to make. */
    const char *const argv[] = {program_at("/usr/sbin/mariadbd"),
                                "--no-defaults",
                                data,
                                port,
                                socket_path,
                                "--bind-address=127.0.0.1",
                                "--skip-grant-tables",
                                "--skip-log-bin",
                                "--innodb-buffer-pool-size=8M",
                                "--innodb-log-file-size=4M",
                                "--innodb-flush-log-at-trx-commit=0",
                                "--user=root",
                                NULL};
    server->pid = spawn(server, 0, argv[0], argv);
    wait_until_up(server, answers);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)info, (void)type, (void)where;
    return remove(path);
}

void database_server_stop(database_server *server) {
    if (server->pid > 0) {
        kill(server->pid, server->end_signal);
        struct timespec nap = {0, 10000000};
        for (int i = 0; i < 300 && waitpid(server->pid, NULL, WNOHANG) == 0; i++) {
            if (i == 200) kill(server->pid, SIGKILL);
            nanosleep(&nap, NULL);
        }
    }
    nftw(server->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    server->pid = 0;
}
