/* Route: the description of the API, docs/openapi.json, embedded by the build. Workers' threads. */
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"

struct si__embedded_file {
    const char *name;
    const unsigned char *data;
    size_t size;
};
extern const struct si__embedded_file si__embedded_openapi[]; /* made from docs/openapi.json by the build */

void si__handle_openapi(si__request *request) {
    size_t length = si__embedded_openapi[0].size;
    char *text = malloc(length + 1);
    if (!text) {
        si__answer_failure(request, SI_ENOMEM);
        return;
    }
    memcpy(text, si__embedded_openapi[0].data, length);
    text[length] = '\0';
    si__answer_take(request, "application/json", text, length);
}
