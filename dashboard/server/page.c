/* The web page out of the program; see page.h. Loaded by the main thread, sent by HTTP threads; immutable in between.
 */
#include "page.h"

#include <si/si.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

struct si__embedded_file {
    const char *name;
    const unsigned char *data;
    size_t size;
};
extern const struct si__embedded_file si__embedded_web[]; /* made from dashboard/web by the build */

struct si__asset {
    const char *name, *type;
    const unsigned char *data;
    size_t size;
    unsigned char *packed; /* gzip; NULL: not smaller */
    size_t packed_size;
    char etag[36];
};

static const char *type_of(const char *name) {
    static const struct {
        const char *ending, *type;
    } types[] = {{".html", "text/html; charset=utf-8"},
                 {".js", "text/javascript; charset=utf-8"},
                 {".css", "text/css; charset=utf-8"},
                 {".svg", "image/svg+xml"},
                 {".png", "image/png"},
                 {".ico", "image/x-icon"},
                 {".json", "application/json"},
                 {".webmanifest", "application/manifest+json"},
                 {".woff2", "font/woff2"},
                 {".txt", "text/plain; charset=utf-8"}};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        size_t ending = strlen(types[i].ending);
        if (length > ending && !strcmp(name + length - ending, types[i].ending)) return types[i].type;
    }
    return "application/octet-stream";
}

static void pack(struct si__asset *asset) {
    z_stream stream = {0};
    if (deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return;
    size_t bound = deflateBound(&stream, asset->size) + 64;
    asset->packed = malloc(bound);
    stream.next_in = (unsigned char *)asset->data;
    stream.avail_in = (unsigned)asset->size;
    stream.next_out = asset->packed;
    stream.avail_out = (unsigned)bound;
    int done = asset->packed && deflate(&stream, Z_FINISH) == Z_STREAM_END;
    asset->packed_size = stream.total_out;
    deflateEnd(&stream);
    if (done && asset->packed_size < asset->size) return;
    free(asset->packed);
    asset->packed = NULL;
}

struct si__asset *si__page_load(void) {
    size_t count = 0;
    while (si__embedded_web[count].name) count++;
    struct si__asset *assets = calloc(count + 1, sizeof *assets);
    for (size_t i = 0; assets && i < count; i++) {
        const struct si__embedded_file *file = &si__embedded_web[i];
        assets[i] =
            (struct si__asset){.name = file->name, .type = type_of(file->name), .data = file->data, .size = file->size};
        unsigned char hash[16];
        crypto_generichash(hash, sizeof hash, file->data, file->size, NULL, 0);
        assets[i].etag[0] = '"';
        sodium_bin2hex(assets[i].etag + 1, 33, hash, sizeof hash);
        memcpy(assets[i].etag + 33, "\"", 2);
        pack(&assets[i]);
    }
    return assets;
}

void si__page_free(struct si__asset *assets) {
    for (struct si__asset *asset = assets; asset && asset->name; asset++) free(asset->packed);
    free(assets);
}

void si__page_harden(struct MHD_Response *response) {
    MHD_add_response_header(
        response, "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "X-Frame-Options", "DENY");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(response, "Cross-Origin-Opener-Policy", "same-origin");
    MHD_add_response_header(response, "Cross-Origin-Resource-Policy", "same-origin");
}

static const struct si__asset *find(const struct si__asset *assets, const char *name) {
    for (; assets->name; assets++)
        if (!strcmp(assets->name, name)) return assets;
    return NULL;
}

enum MHD_Result si__page_send(struct si__asset *assets, struct MHD_Connection *connection, const char *path) {
    const struct si__asset *asset = find(assets, path[0] == '/' ? path + 1 : path);
    const char *known = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_IF_NONE_MATCH);
    const char *accepts = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT_ENCODING);
    unsigned status = MHD_HTTP_OK;
    if (!asset && !strncmp(path, "/assets/", 8))
        status = MHD_HTTP_NOT_FOUND; /* a missing script must not look like a page */
    if (!asset) asset = find(assets, "index.html");
    if (!asset) return MHD_NO;
    int same = status == MHD_HTTP_OK && known && strstr(known, asset->etag),
        gzip = asset->packed && accepts && strstr(accepts, "gzip");
    const unsigned char *data = gzip ? asset->packed : asset->data;
    struct MHD_Response *response = MHD_create_response_from_buffer(same   ? 0
                                                                    : gzip ? asset->packed_size
                                                                           : asset->size,
                                                                    (void *)data, MHD_RESPMEM_PERSISTENT);
    if (!response) return MHD_NO;
    if (same) status = MHD_HTTP_NOT_MODIFIED;
    si__page_harden(response);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, asset->type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_ETAG, asset->etag);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    MHD_add_response_header(response, MHD_HTTP_HEADER_VARY, "Accept-Encoding");
    if (gzip && !same) MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
    enum MHD_Result queued = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return queued;
}
