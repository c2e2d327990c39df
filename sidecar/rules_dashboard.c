/*
 * Recorded history from a dashboard, for `si rules replay` and `explain`: asked for over HTTP with a reading key.
 * Called by rules_input.c, on the si command's only thread. Every failure says what was tried and what helps.
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../runtime/agent_parts.h"
#include "../runtime/profile/profile_type.h"
#include "../runtime/report/json.h"
#include "rules_input.h"

#define DAY_MS ((int64_t)86400000)
#define ANSWER_MOST ((size_t)256 << 20)
#define CONNECT_MS 10000L
#define ANSWER_MS 180000L
#define BELOW 8

typedef struct answer {
    char *data;
    size_t length;
} answer;

static size_t take(char *data, size_t size, size_t count, void *arg) {
    answer *a = arg;
    size_t n = size * count;
    if (a->length + n > ANSWER_MOST) return 0;
    char *more = realloc(a->data, a->length + n + 1);
    if (!more) return 0;
    memcpy(more + a->length, data, n);
    a->data = more;
    a->length += n;
    more[a->length] = '\0';
    return n;
}

/* ---- The question ------------------------------------------------------------------------------------------------ */

static void add(char *url, size_t bytes, const char *text) {
    size_t n = strlen(url);
    if (n < bytes) snprintf(url + n, bytes - n, "%s", text);
}

/* &name=value, escaped. */
static void add_argument(CURL *curl, char *url, size_t bytes, const char *name, const char *value) {
    char *escaped = curl_easy_escape(curl, value, 0);
    add(url, bytes, strchr(url, '?') ? "&" : "?");
    add(url, bytes, name);
    add(url, bytes, "=");
    add(url, bytes, escaped ? escaped : "");
    curl_free(escaped);
}

static void add_number(CURL *curl, char *url, size_t bytes, const char *name, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    add_argument(curl, url, bytes, name, text);
}

/* What the rules ask for beyond what everybody is told: call sites, and calls below the durations of objectives. */
static void add_wishes(CURL *curl, char *url, size_t bytes, const si__rules_input *in) {
    char list[256] = "", one[48];
    double below_ms[BELOW];
    size_t count = si__script_thresholds(in->script, below_ms, BELOW);
    for (int type = 0; type < SI__PROFILE_TYPES; type++) {
        const char *name = si__profile_kind_of((si__profile_type)type)->name;
        if (!si__script_wants_callsites(in->script, name, 0)) continue;
        add(list, sizeof list, *list ? "," : "");
        add(list, sizeof list, name);
    }
    if (*list) add_argument(curl, url, bytes, "sites", list);
    list[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        snprintf(one, sizeof one, "%s%.17g", i ? "," : "", below_ms[i]);
        add(list, sizeof list, one);
    }
    if (*list) add_argument(curl, url, bytes, "below", list);
}

static void make_url(CURL *curl, char *url, size_t bytes, const si__rules_input *in) {
    int64_t now_ms = (int64_t)time(NULL) * 1000, last_ms = in->last_ms ? in->last_ms : DAY_MS;
    size_t length = strlen(in->dashboard);
    while (length && in->dashboard[length - 1] == '/') length--;
    snprintf(url, bytes, "%.*s/api/v1/history", (int)length, in->dashboard);
    add_number(curl, url, bytes, "from", now_ms - last_ms - DAY_MS); /* baselines look a day further back */
    add_number(curl, url, bytes, "to", now_ms);
    if (in->options.app_name) add_argument(curl, url, bytes, "app", in->options.app_name);
    if (in->options.app_name || in->options.app_environment)
        add_argument(curl, url, bytes, "env", in->options.app_environment ? in->options.app_environment : "default");
    if (in->source) add_argument(curl, url, bytes, "src", in->source);
    add_argument(curl, url, bytes, "at", in->at_dashboard ? "dashboard" : "agent");
    add_wishes(curl, url, bytes, in);
}

/* The key, from --key-file or SI_READING_KEY; malloc'ed. NULL: there is none, told already. */
static char *read_key(const si__rules_input *in) {
    char *key = NULL;
    size_t length = 0;
    const char *from = getenv("SI_READING_KEY");
    if (in->key_file) {
        int status = si__read_file(in->key_file, &key, &length);
        if (status) {
            fprintf(stderr, "si rules: %s: %s\n", in->key_file, si_strerror(status));
            return NULL;
        }
    } else if (from && *from) {
        key = strdup(from);
    }
    if (key) key[strcspn(key, " \t\r\n")] = '\0';
    if (key && *key) return key;
    free(key);
    fprintf(stderr, "si rules: a dashboard is asked with a reading key: give --key-file FILE, or SI_READING_KEY.\n"
                    "'si-dashboard key --data DIR --app NAME --env NAME --label replay --read' makes one\n");
    return NULL;
}

/* ---- The answer -------------------------------------------------------------------------------------------------- */

/* The dashboard's own words about what is wrong, and what helps. */
static void tell_refusal(const si__rules_input *in, long status, const answer *a) {
    si__json *root = NULL;
    const char *said = "", *code = "", *helps = "";
    if (a->data && si__json_parse(a->data, a->length, &root, NULL, 0) == 0) {
        said = si__json_get_string(si__json_get(root, "error"), "message", "");
        code = si__json_get_string(si__json_get(root, "error"), "code", "");
    }
    if (status == 401)
        helps = "\nThe key must be a reading key of this dashboard that was not revoked: 'si-dashboard key --read' "
                "makes one";
    else if (strcmp(code, "wrong_app") == 0)
        helps = "\nA reading key is for one application and environment: leave out --app and --env, and they are those "
                "of the key";
    else if (status == 404 && !*said)
        helps = "\nIs this the address of a si-dashboard, of this version?";
    fprintf(stderr, "si rules: %s: %s (HTTP %ld)%s\n", in->dashboard, *said ? said : "refused", status, helps);
    si__json_free(root);
}

static int take_history(si__rules_input *in, long status, const answer *a) {
    if (status != 200) {
        tell_refusal(in, status, a);
        return 1;
    }
    int failed = a->data ? si__history_decode(in->recorded, (const uint8_t *)a->data, a->length) : SI_EFORMAT;
    if (failed) {
        fprintf(stderr, "si rules: %s: %s\n", in->dashboard,
                failed == SI_EFORMAT ? "answered with something that is no history: is this a si-dashboard, of this "
                                       "version?"
                                     : si_strerror(failed));
        return 1;
    }
    if (si__history_count(in->recorded)) return 0;
    fprintf(stderr, "si rules: %s: nothing was reported in this time%s\n", in->dashboard,
            in->source ? " by this source" : "");
    return 1;
}

static CURLcode ask(CURL *curl, const si__rules_input *in, const char *url, const char *key, answer *a, char *error) {
    char header[256];
    snprintf(header, sizeof header, "Authorization: Bearer %s", key);
    struct curl_slist *headers = curl_slist_append(NULL, header);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, ANSWER_MS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, a);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    if (in->options.ca_file) curl_easy_setopt(curl, CURLOPT_CAINFO, in->options.ca_file);
    if (in->options.proxy_url) curl_easy_setopt(curl, CURLOPT_PROXY, in->options.proxy_url);
    CURLcode failed = headers ? curl_easy_perform(curl) : CURLE_OUT_OF_MEMORY;
    curl_slist_free_all(headers);
    return failed;
}

int si__rules_ask_dashboard(si__rules_input *in) {
    char url[4096], error[CURL_ERROR_SIZE] = "";
    answer a = {0};
    int code = 1;
    long status = 0;
    char *key = read_key(in);
    if (!key) return 2;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL *curl = curl_easy_init();
    if (curl) {
        make_url(curl, url, sizeof url, in);
        CURLcode failed = ask(curl, in, url, key, &a, error);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        if (failed)
            fprintf(stderr, "si rules: %s cannot be asked: %s\n", in->dashboard,
                    *error ? error : curl_easy_strerror(failed));
        else
            code = take_history(in, status, &a);
    }
    curl_easy_cleanup(curl);
    curl_global_cleanup();
    free(a.data);
    free(key);
    return code;
}
