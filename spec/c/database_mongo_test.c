/*
 * libmongoc, the real library, against a small server of the test's own that speaks the wire protocol (Debian has no
 * MongoDB server), embedded and preloaded.
 */
#include <arpa/inet.h>
#include <mongoc/mongoc.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include "call_host.h"

static const char *self_path;

static void must(int ok) {
    if (!ok) abort();
}

/* ---- The server ---- */

enum { OP_REPLY = 1, OP_QUERY = 2004, OP_MSG = 2013 };

typedef struct header {
    int32_t bytes, id, to, code;
} header;

static int read_all(int fd, void *out, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        ssize_t got = read(fd, (char *)out + at, bytes - at);
        if (got <= 0) return 0;
        at += (size_t)got;
    }
    return 1;
}

static const char *first_key(const bson_t *command) {
    bson_iter_t iter;
    return bson_iter_init(&iter, command) && bson_iter_next(&iter) ? bson_iter_key(&iter) : "";
}

static void hello(bson_t *reply) {
    BSON_APPEND_BOOL(reply, "ismaster", true);
    BSON_APPEND_BOOL(reply, "helloOk", true);
    BSON_APPEND_INT32(reply, "maxBsonObjectSize", 16777216);
    BSON_APPEND_INT32(reply, "maxMessageSizeBytes", 48000000);
    BSON_APPEND_INT32(reply, "maxWriteBatchSize", 100000);
    BSON_APPEND_INT32(reply, "minWireVersion", 0);
    BSON_APPEND_INT32(reply, "maxWireVersion", 13);
}

/* Two batches of a find: the second one late. */
static void documents(bson_t *reply, int more) {
    bson_t cursor, batch, document;
    BSON_APPEND_DOCUMENT_BEGIN(reply, "cursor", &cursor);
    BSON_APPEND_INT64(&cursor, "id", more ? 77 : 0);
    BSON_APPEND_UTF8(&cursor, "ns", "shop.orders");
    BSON_APPEND_ARRAY_BEGIN(&cursor, more ? "firstBatch" : "nextBatch", &batch);
    for (int i = 0; i < 2; i++) {
        char key[4];
        snprintf(key, sizeof key, "%d", i);
        BSON_APPEND_DOCUMENT_BEGIN(&batch, key, &document);
        BSON_APPEND_INT32(&document, "v", i);
        bson_append_document_end(&batch, &document);
    }
    bson_append_array_end(&cursor, &batch);
    bson_append_document_end(reply, &cursor);
}

static void answer(const bson_t *command, bson_t *reply) {
    const char *name = first_key(command);
    struct timespec nap = {0, 6000000};
    if (!strcasecmp(name, "ismaster") || !strcmp(name, "hello")) hello(reply);
    if (!strcmp(name, "find") || !strcmp(name, "getMore")) {
        nanosleep(&nap, NULL);
        documents(reply, !strcmp(name, "find"));
    }
    if (!strcmp(name, "aggregate")) {
        bson_t cursor, batch;
        BSON_APPEND_DOCUMENT_BEGIN(reply, "cursor", &cursor);
        BSON_APPEND_INT64(&cursor, "id", 0);
        BSON_APPEND_UTF8(&cursor, "ns", "shop.orders");
        BSON_APPEND_ARRAY_BEGIN(&cursor, "firstBatch", &batch);
        bson_append_array_end(&cursor, &batch);
        bson_append_document_end(reply, &cursor);
    }
    if (!strcmp(name, "insert") || !strcmp(name, "update") || !strcmp(name, "delete")) BSON_APPEND_INT32(reply, "n", 1);
    if (!strcmp(name, "update")) BSON_APPEND_INT32(reply, "nModified", 1);
    int fails = !strcmp(name, "nonsense");
    if (fails) BSON_APPEND_UTF8(reply, "errmsg", "no such command");
    if (fails) BSON_APPEND_INT32(reply, "code", 59);
    BSON_APPEND_DOUBLE(reply, "ok", fails ? 0 : 1);
}

static void send_reply(int fd, const header *request, const bson_t *reply) {
    struct {
        header head;
        int32_t flags;
        int64_t cursor;
        int32_t from, count;
    } __attribute__((packed)) old = {{0, 1, request->id, OP_REPLY}, 8, 0, 0, 1};
    struct {
        header head;
        int32_t flags;
        char kind;
    } __attribute__((packed)) now = {{0, 1, request->id, OP_MSG}, 0, 0};
    int is_old = request->code == OP_QUERY;
    size_t head = is_old ? sizeof old : sizeof now;
    char *message = malloc(head + reply->len);
    old.head.bytes = now.head.bytes = (int32_t)(head + reply->len);
    memcpy(message, is_old ? (void *)&old : (void *)&now, head);
    memcpy(message + head, bson_get_data(reply), reply->len);
    must(write(fd, message, head + reply->len) == (ssize_t)(head + reply->len));
    free(message);
}

/* The command's document: behind the flags and the kind, or behind a collection's name and two numbers. */
static void *converse(void *arg) {
    int fd = (int)(intptr_t)arg;
    header head;
    while (read_all(fd, &head, sizeof head)) {
        size_t bytes = (size_t)head.bytes - sizeof head;
        char *body = malloc(bytes);
        if (!read_all(fd, body, bytes)) {
            free(body);
            break;
        }
        size_t at = head.code == OP_MSG ? 5 : 4 + strlen(body + 4) + 1 + 8;
        int32_t length;
        bson_t command, reply = BSON_INITIALIZER;
        memcpy(&length, body + at, 4);
        must(bson_init_static(&command, (uint8_t *)body + at, (size_t)length));
        answer(&command, &reply);
        send_reply(fd, &head, &reply);
        bson_destroy(&reply);
        free(body);
    }
    close(fd);
    return NULL;
}

static struct {
    int fd, port;
    pthread_t thread;
} server;

static void *serve(void *arg) {
    (void)arg;
    for (int fd; (fd = accept4(server.fd, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
        pthread_t thread;
        must(pthread_create(&thread, NULL, converse, (void *)(intptr_t)fd) == 0);
        pthread_detach(thread);
    }
    return NULL;
}

static int set_up(void **state) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    (void)state;
    server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(bind(server.fd, (struct sockaddr *)&address, length) == 0 && listen(server.fd, 8) == 0);
    getsockname(server.fd, (struct sockaddr *)&address, &length);
    server.port = ntohs(address.sin_port);
    return pthread_create(&server.thread, NULL, serve, NULL);
}

static int tear_down(void **state) {
    (void)state;
    shutdown(server.fd, SHUT_RDWR);
    pthread_join(server.thread, NULL);
    return close(server.fd);
}

/* ---- The program ---- */

static void document(const char *name, int failed) {
    did(SI__INSTRUMENT_CALL_DOCUMENT, name, failed, 0);
}

static void queries(mongoc_collection_t *orders, const bson_t *secret) {
    const bson_t *found;
    for (int i = 0; i < 12; i++) {
        int count = 0;
        mongoc_cursor_t *cursor;
        TIMED(SI__INSTRUMENT_CALL_DOCUMENT, "shop.orders find", 0, {
            cursor = mongoc_collection_find_with_opts(orders, secret, NULL, NULL);
            while (mongoc_cursor_next(cursor, &found)) count++;
        });
        must(count == 4);
        mongoc_cursor_destroy(cursor);
    }
    bson_t *stages = bson_new();
    mongoc_cursor_t *cursor = mongoc_collection_aggregate(orders, MONGOC_QUERY_NONE, stages, NULL, NULL);
    bson_destroy(stages);
    must(!mongoc_cursor_next(cursor, &found));
    must(!mongoc_cursor_next(cursor, &found)); /* behind the end */
    mongoc_cursor_destroy(cursor);
    document("shop.orders aggregate", 0);
    cursor = mongoc_collection_find_with_opts(orders, secret, NULL, NULL);
    mongoc_cursor_destroy(cursor); /* never asked */
}

static void writes(mongoc_collection_t *orders, const bson_t *secret) {
    bson_error_t error;
    bson_t *set = BCON_NEW("$set", "{", "token", "hunter2", "}");
    for (int i = 0; i < 3; i++) {
        must(mongoc_collection_insert_one(orders, secret, NULL, NULL, &error));
        document("shop.orders insert", 0);
    }
    const bson_t *many[] = {secret, secret};
    must(mongoc_collection_insert_many(orders, many, 2, NULL, NULL, &error));
    document("shop.orders insert", 0);
    must(mongoc_collection_update_one(orders, secret, set, NULL, NULL, &error));
    must(mongoc_collection_update_many(orders, secret, set, NULL, NULL, &error));
    document("shop.orders update", 0);
    document("shop.orders update", 0);
    must(mongoc_collection_delete_one(orders, secret, NULL, NULL, &error));
    document("shop.orders delete", 0);
    mongoc_bulk_operation_t *bulk = mongoc_collection_create_bulk_operation_with_opts(orders, NULL);
    mongoc_bulk_operation_insert(bulk, secret);
    must(mongoc_bulk_operation_execute(bulk, NULL, &error) != 0);
    mongoc_bulk_operation_destroy(bulk);
    document("shop.orders bulkWrite", 0);
    bson_destroy(set);
}

static void workload(const char *argument) {
    char uri[100];
    bson_error_t error;
    mongoc_init();
    snprintf(uri, sizeof uri, "mongodb://127.0.0.1:%s/?serverSelectionTimeoutMS=5000", argument);
    mongoc_client_t *client = mongoc_client_new(uri);
    must(client != NULL);
    mongoc_collection_t *orders = mongoc_client_get_collection(client, "shop", "orders");
    bson_t *secret = BCON_NEW("token", "hunter2"), *ping = BCON_NEW("ping", BCON_INT32(1)),
           *nonsense = BCON_NEW("nonsense", "hunter2");
    for (int i = 0; i < 3; i++) {
        must(mongoc_client_command_simple(client, "admin", ping, NULL, NULL, &error));
        document("admin ping", 0);
    }
    must(!mongoc_client_command_simple(client, "admin", nonsense, NULL, NULL, &error));
    document("admin nonsense", 1);
    queries(orders, secret);
    writes(orders, secret);
    bson_destroy(secret);
    bson_destroy(ping);
    bson_destroy(nonsense);
    mongoc_collection_destroy(orders);
    mongoc_client_destroy(client);
    if (getenv("LD_PRELOAD")) mongoc_cleanup(); /* once in a process */
}

static void embedded(void **state) {
    char port[16];
    (void)state;
    snprintf(port, sizeof port, "%d", server.port);
    play_embedded(workload, port);
}

static void preloaded(void **state) {
    char port[16];
    (void)state;
    snprintf(port, sizeof port, "%d", server.port);
    play_preloaded(self_path, "mongo", port);
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
