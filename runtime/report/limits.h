/*
 * What a report may hold at most. The encoder cuts to these, the decoder refuses what is beyond: a report is hostile
 * input.
 */
#ifndef SI_REPORT_LIMITS_H
#define SI_REPORT_LIMITS_H

#define SI__REPORT_VERSION_MINOR 2                /* grows when something is added that old readers may skip */
#define SI__REPORT_MAX_STRING ((size_t)16 << 10)  /* bytes of one string */
#define SI__REPORT_MAX_BODY ((size_t)8 << 20)     /* bytes after decompression, as the dashboard takes them */
#define SI__REPORT_MAX_MEMORY ((size_t)128 << 20) /* what decoding may allocate: repeated references multiply */
#define SI__REPORT_MAX_RATIO 256                  /* bytes after decompression per byte before, above 1 MiB */

#endif
