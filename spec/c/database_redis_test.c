/* hiredis against a real Redis server: plain, pipelined and asynchronous commands, embedded and preloaded. */
#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include "call_host.h"
#include "database_server.h"

static const char *self_path;
static database_server server;

static void must(int ok) {
    if (!ok) abort();
}

static void cache(const char *name, int failed) {
    did(SI__INSTRUMENT_CALL_CACHE, name, failed, 0);
}

static void take(void *reply, int type) {
    must(reply && ((redisReply *)reply)->type == type);
    freeReplyObject(reply);
}

static void plain(redisContext *c) {
    for (int i = 0; i < 20; i++) {
        void *reply;
        TIMED(SI__INSTRUMENT_CALL_CACHE, "DEBUG", 0, reply = redisCommand(c, "DEBUG SLEEP 0.0%d", 10 + i % 3));
        take(reply, REDIS_REPLY_STATUS);
    }
    for (int i = 0; i < 5; i++) {
        take(redisCommand(c, "SET user:%d:name %s", i + 10, "hunter2"), REDIS_REPLY_STATUS);
        cache("SET user:*:name", 0);
        take(redisCommand(c, "GET %s", i % 2 ? "user:11:name" : "user:10:name"), REDIS_REPLY_STRING);
        cache("GET user:*:name", 0);
        take(redisCommand(c, "set %b %b", "session:alice", (size_t)13, "hun\0ter2", (size_t)8), REDIS_REPLY_STATUS);
        cache("SET session:*", 0);
    }
    const char *argv[] = {"HSET", "cart:9f8e7d6c", "item", "hunter2"};
    take(redisCommandArgv(c, 4, argv, NULL), REDIS_REPLY_INTEGER);
    cache("HSET cart:*", 0);
    take(redisCommand(c, "AUTH hunter2"), REDIS_REPLY_ERROR);
    cache("AUTH", 1);
    take(redisCommand(c, "NOSUCH %s", "hunter2"), REDIS_REPLY_ERROR);
    cache("NOSUCH *", 1);
}

static void pipelined(redisContext *c) {
    void *reply;
    const char *argv[] = {"DEL", "user:7:piped"};
    static const char exists[] = "*2\r\n$6\r\nEXISTS\r\n$6\r\nuser:8\r\n";
    for (int i = 0; i < 4; i++) {
        must(redisAppendCommand(c, "INCR count:%d", i) == REDIS_OK);
        must(redisAppendCommandArgv(c, 2, argv, NULL) == REDIS_OK);
        must(redisAppendFormattedCommand(c, exists, sizeof exists - 1) == REDIS_OK);
    }
    for (int i = 0; i < 12; i++) {
        must(redisGetReply(c, &reply) == REDIS_OK);
        take(reply, REDIS_REPLY_INTEGER);
        cache(i % 3 == 0 ? "INCR count:*" : i % 3 == 1 ? "DEL user:*:piped" : "EXISTS user:*", 0);
    }
}

/* ---- Asynchronous: an event loop of our own, of one descriptor ---- */

static struct { int reads, writes, replies; } loop;

static void add_read(void *arg) {
    (void)arg;
    loop.reads = 1;
}
static void add_write(void *arg) {
    (void)arg;
    loop.writes = 1;
}
static void del_write(void *arg) {
    (void)arg;
    loop.writes = 0;
}
static void nothing(void *arg) {
    (void)arg;
}

static void turn(redisAsyncContext *ac) {
    struct pollfd fd = {ac->c.fd, (short)((loop.reads ? POLLIN : 0) | (loop.writes ? POLLOUT : 0)), 0};
    poll(&fd, 1, 1000);
    if (fd.revents & POLLOUT) redisAsyncHandleWrite(ac);
    if (fd.revents & POLLIN) redisAsyncHandleRead(ac);
}

static void on_reply(redisAsyncContext *ac, void *reply, void *data) {
    must(ac && strcmp(data, "the host's") == 0);
    loop.replies += reply != NULL; /* without one, the subscription ends */
}

static void asynchronous(int port) {
    redisAsyncContext *ac = redisAsyncConnect("127.0.0.1", port);
    char *data = (char *)(uintptr_t) "the host's";
    must(ac && !ac->err);
    memset(&loop, 0, sizeof loop);
    ac->ev.addRead = add_read;
    ac->ev.delRead = nothing;
    ac->ev.addWrite = add_write;
    ac->ev.delWrite = del_write;
    ac->ev.cleanup = nothing;
    ac->ev.data = &loop;
    while (!(ac->c.flags & REDIS_CONNECTED)) {
        loop.writes = 1;
        turn(ac);
    }
    const char *argv[] = {"GET", "async:5"};
    for (int i = 0; i < 5; i++) {
        must(redisAsyncCommand(ac, on_reply, data, "SET async:%d hunter2", i) == REDIS_OK);
        must(redisAsyncCommandArgv(ac, on_reply, data, 2, argv, NULL) == REDIS_OK);
    }
    must(redisAsyncCommand(ac, NULL, NULL, "DEL async:1") ==
         REDIS_OK); /* nobody waits for it, it counts all the same */
    must(redisAsyncCommand(ac, on_reply, data, "SUBSCRIBE news") == REDIS_OK); /* is no call */
    while (loop.replies < 11) turn(ac);
    redisAsyncFree(ac);
    for (int i = 0; i < 5; i++) {
        cache("SET async:*", 0);
        cache("GET async:*", 0);
    }
    cache("DEL async:*", 0);
}

static void workload(const char *argument) {
    redisContext *c = redisConnect("127.0.0.1", atoi(argument));
    must(c && !c->err);
    cache("CONNECT", 0);
    plain(c);
    pipelined(c);
    redisFree(c);
    asynchronous(atoi(argument));
}

static char port[16];

static void embedded(void **state) {
    (void)state;
    play_embedded(workload, port);
}

static void preloaded(void **state) {
    (void)state;
    play_preloaded(self_path, "redis", port);
}

static int set_up(void **state) {
    (void)state;
    redis_server_start(&server);
    snprintf(port, sizeof port, "%d", server.port);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    database_server_stop(&server);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 3) return play(workload, argv[3]);
    self_path = argv[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedded),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(preloaded),
#endif
    };
    (void)preloaded;
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
