/*
 * zstd around reports: one frame with a checksum; decompression within a size and a ratio.
 *
 * Compression runs on the worker, decompression on the dashboard's threads.
 */
#include <si/si.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "limits.h"
#include "report.h"

#define LEVEL 9           /* past it, reports shrink by little and cost much */
#define WINDOW_LOG_MAX 23 /* 8 MiB: a frame that asks for more memory is not ours */
#define FREE_BYTES ((size_t)1 << 20)

int si__report_compress(const uint8_t *data, size_t length, uint8_t **out, size_t *out_length) {
    size_t bound = ZSTD_compressBound(length), size = 0;
    uint8_t *to = malloc(bound);
    ZSTD_CCtx *context = ZSTD_createCCtx();
    *out = NULL;
    *out_length = 0;
    int ok = to && context && !ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, LEVEL)) &&
             !ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1));
    if (ok) {
        size = ZSTD_compress2(context, to, bound, data, length);
        ok = !ZSTD_isError(size); /* with room for the worst case only memory can be missing */
    }
    ZSTD_freeCCtx(context);
    if (!ok) {
        free(to);
        return SI_ENOMEM;
    }
    uint8_t *fitted = realloc(to, size);
    if (fitted) to = fitted;
    *out = to;
    *out_length = size;
    return SI_OK;
}

/* Doubles the room, but not beyond limit. SI_ELIMIT when it is there already. */
static int more_room(ZSTD_outBuffer *to, size_t limit) {
    if (to->size >= limit) return SI_ELIMIT;
    size_t size = to->size ? to->size * 2 : 4096;
    if (size > limit) size = limit;
    void *moved = realloc(to->dst, size);
    if (!moved) return SI_ENOMEM;
    to->dst = moved;
    to->size = size;
    return 0;
}

static int error_status(size_t code) {
    return ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation ? SI_ENOMEM : SI_EFORMAT;
}

static int decompress(ZSTD_DStream *stream, ZSTD_inBuffer *from, ZSTD_outBuffer *to, size_t limit) {
    for (;;) {
        int status = to->pos == to->size ? more_room(to, limit) : 0;
        if (status == SI_ELIMIT) { /* full: it may still end here, if nothing comes out */
            char probe;
            ZSTD_outBuffer none = {&probe, 1, 0};
            size_t left = ZSTD_decompressStream(stream, &none, from);
            if (ZSTD_isError(left)) return error_status(left);
            if (left == 0 && none.pos == 0) return from->pos == from->size ? SI_OK : SI_EFORMAT;
            return none.pos ? SI_ELIMIT : SI_EFORMAT;
        }
        if (status) return status;
        size_t in_before = from->pos, out_before = to->pos;
        size_t left = ZSTD_decompressStream(stream, to, from);
        if (ZSTD_isError(left)) return error_status(left);
        if (left == 0) return from->pos == from->size ? SI_OK : SI_EFORMAT; /* the checksum was right */
        if (from->pos == in_before && to->pos == out_before && to->pos < to->size) return SI_EFORMAT; /* cut */
    }
}

/* One frame that says how large it is, as agents' are: at once, into memory of that size. SI_ESTATE: not so. */
static int decompress_whole(struct ZSTD_DCtx_s *context, const uint8_t *data, size_t length, size_t limit,
                            uint8_t **out, size_t *out_length) {
    unsigned long long size = ZSTD_getFrameContentSize(data, length);
    if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR) return SI_ESTATE;
    if (size > limit) return SI_ELIMIT;
    if (ZSTD_findFrameCompressedSize(data, length) != length) return SI_EFORMAT; /* cut, or something follows */
    uint8_t *to = malloc(size ? (size_t)size : 1);
    if (!to) return SI_ENOMEM;
    size_t got = ZSTD_decompressDCtx(context, to, (size_t)size, data, length); /* its checksum too */
    if (ZSTD_isError(got)) {
        free(to);
        return error_status(got);
    }
    *out = to;
    *out_length = got;
    return SI_OK;
}

int si__report_decompress(const uint8_t *data, size_t length, size_t limit_bytes, uint8_t **out, size_t *out_length) {
    ZSTD_DCtx *context = ZSTD_createDCtx();
    *out = NULL;
    *out_length = 0;
    int status = context ? si__report_decompress_with(context, data, length, limit_bytes, out, out_length) : SI_ENOMEM;
    ZSTD_freeDCtx(context);
    return status;
}

int si__report_decompress_with(struct ZSTD_DCtx_s *context, const uint8_t *data, size_t length, size_t limit_bytes,
                               uint8_t **out, size_t *out_length) {
    *out = NULL;
    *out_length = 0;
    size_t by_ratio = length > SIZE_MAX / SI__REPORT_MAX_RATIO ? SIZE_MAX : length * SI__REPORT_MAX_RATIO;
    if (by_ratio < FREE_BYTES) by_ratio = FREE_BYTES;
    if (limit_bytes > by_ratio) limit_bytes = by_ratio;
    int whole = decompress_whole(context, data, length, limit_bytes, out, out_length);
    if (whole != SI_ESTATE) return whole;
    ZSTD_DStream *stream = ZSTD_createDStream();
    if (!stream) return SI_ENOMEM;
    ZSTD_inBuffer from = {data, length, 0};
    ZSTD_outBuffer to = {NULL, 0, 0};
    int status = SI_ENOMEM;
    if (!ZSTD_isError(ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)))
        status = decompress(stream, &from, &to, limit_bytes);
    ZSTD_freeDStream(stream);
    if (status) {
        free(to.dst);
        return status;
    }
    *out = to.dst;
    *out_length = to.pos;
    return SI_OK;
}
