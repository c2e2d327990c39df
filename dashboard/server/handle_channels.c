/* Routes: where notifications go, how that works out, and a message to try it. Workers' threads. */
#include <si/si.h>
#include <string.h>

#include "alerting.h"
#include "audit.h"
#include "channels.h"
#include "clock.h"
#include "handlers.h"
#include "server.h"

void si__handle_channels(si__request *request) {
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__channels_write(request->server->channels, &json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

typedef struct testing {
    si__request *request;
    const char *name;
} testing;

static int test_apply(si__tx *tx, void *arg) {
    testing *t = arg;
    return si__audit(tx, t->request->user.email, "channel tested", t->name, t->request->address);
}

static void ask(si__request *request, const char *name) {
    testing t = {request, name};
    int failed = si__channels_ask_test(request->server->channels, name, request->user.email, si__clock_unix_ms());
    if (failed == SI_ENOTFOUND) {
        si__answer_error(request, 404, "not_found", "There is no channel of that name in the channels file.", "name");
    } else if (failed) {
        si__answer_error(request, 409, "exists", "A test of this channel is on its way already.", "name");
    } else if (!si__request_write(request, test_apply, &t)) {
        si__json_writer json = {0};
        si__alerting_wake(atomic_load(&request->server->alerting));
        si__json_object_begin(&json, NULL);
        si__json_put_string(&json, "name", name);
        si__json_object_end(&json);
        si__answer_json(request, 202, &json);
    }
}

void si__handle_channel_test(si__request *request) {
    si__json *body;
    if (si__request_body(request, &body)) return;
    const char *name = si__json_get_string(body, "name", "");
    if (*name && strlen(name) < SI__CHANNEL_NAME)
        ask(request, name);
    else
        si__answer_error(request, 400, "invalid", "Name the channel, as in the channels file.", "name");
    si__json_free(body);
}
