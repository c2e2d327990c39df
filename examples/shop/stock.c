/*
 * Client of the second service: asks it over HTTP to reserve units. Called on the server's threads; each keeps its own
 * libcurl handle, and with it one open connection. The profiler finds and names the requests by itself.
 */
#include <curl/curl.h>
#include <pthread.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shop.h"

static const char *base_url;
static pthread_key_t handle_key;
static pthread_once_t handle_key_once = PTHREAD_ONCE_INIT;

typedef struct kept_answer {
    char text[256];
    size_t length;
} kept_answer;

static void make_handle_key(void) {
    pthread_key_create(&handle_key, curl_easy_cleanup);
}

void shop_stock_use(const char *url) {
    base_url = url;
    pthread_once(&handle_key_once, make_handle_key);
}

static size_t keep_answer(char *data, size_t size, size_t count, void *arg) {
    kept_answer *kept = arg;
    size_t bytes = size * count, room = sizeof kept->text - 1 - kept->length;
    size_t taken = bytes < room ? bytes : room;
    memcpy(kept->text + kept->length, data, taken);
    kept->length += taken;
    return bytes;
}

static CURL *thread_handle(void) {
    CURL *handle = pthread_getspecific(handle_key);
    if (!handle && (handle = curl_easy_init())) pthread_setspecific(handle_key, handle);
    return handle;
}

int shop_stock_reserve(int product, int quantity) {
    char url[256];
    kept_answer answer = {.length = 0};
    long status = 0;
    CURL *handle = thread_handle();
    if (!handle) return -1;
    snprintf(url, sizeof url, "%s/stock/%d?q=%d", base_url, product, quantity);
    curl_easy_setopt(handle, CURLOPT_URL, url);
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, 2000L);
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, keep_answer);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, &answer);

    CURLcode result = curl_easy_perform(handle);
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    if (result != CURLE_OK || status != 200) {
        si_error_record("inventory unavailable", result == CURLE_OK ? "unexpected status" : curl_easy_strerror(result));
        return -1;
    }
    const char *left = strstr(answer.text, "\"left\":");
    return left ? (int)strtol(left + 7, NULL, 10) : -1;
}
