/* Fuzzes the JSON parser with request bodies, and the channels reader on top of it. */
#include <stdint.h>
#include <stdlib.h>

#include "../../runtime/notify/channel.h"
#include "../../runtime/report/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(si__json_writer *w, const si__json *value) {
    switch (value->type) {
    case SI__JSON_OBJECT:
        si__json_object_begin(w, value->key);
        break;
    case SI__JSON_ARRAY:
        si__json_array_begin(w, value->key);
        break;
    case SI__JSON_STRING:
        si__json_put_text(w, value->key, value->text, value->length);
        break;
    case SI__JSON_NUMBER:
        si__json_put_number(w, value->key, value->number);
        break;
    case SI__JSON_BOOL:
        si__json_put_bool(w, value->key, value->boolean);
        break;
    case SI__JSON_NULL:
        si__json_put_null(w, value->key);
        break;
    }
    for (const si__json *child = value->first; child; child = child->next) write_again(w, child);
    if (value->type == SI__JSON_OBJECT) si__json_object_end(w);
    if (value->type == SI__JSON_ARRAY) si__json_array_end(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    si__json *root, *again;
    char error[100], *text;
    size_t length, count;
    si__json_writer w = {0};
    si__channel *channels;
    if (si__json_parse((const char *)data, size, &root, error, sizeof error)) return 0;
    write_again(&w, root);
    if (si__json_take(&w, &text, &length)) abort();
    if (si__json_parse(text, length, &again, error, sizeof error) || again->count != root->count) abort();
    free(text);
    si__json_free(again);
    si__json_free(root);
    if (!si__channels_parse((const char *)data, size, &channels, &count, error, sizeof error))
        si__channels_free(channels, count);
    return 0;
}
