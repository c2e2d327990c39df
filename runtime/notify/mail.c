/*
 * A message as mail: headers by RFC 5322, non-ASCII subjects by RFC 2047, the body quoted-printable by RFC 2045.
 *
 * Called by notify.c. Addresses were checked when the channel was read; the subject is the only header with foreign
 * text, and nothing but printable ASCII gets into it unencoded.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../report/utf8.h"
#include "message.h"

#define LINE_MOST 76 /* RFC 2045: encoded lines, without CRLF */
#define WORD_TEXT 54 /* with "Subject: =?UTF-8?Q?" and "?=" a line of at most 76 (RFC 2047, 2) */

static const char hex[] = "0123456789ABCDEF";

static int is_plain(const char *text) {
    for (; *text; text++)
        if (*text < ' ' || *text > '~') return 0;
    return 1;
}

/* Encoded words, one a line; a character is never split between two (RFC 2047, 5). */
static void put_encoded_subject(FILE *to, const char *text) {
    size_t used = 0, length = strlen(text);
    fputs("=?UTF-8?Q?", to);
    for (size_t i = 0; i < length;) {
        uint32_t code;
        size_t n = si__utf8_decode(text + i, length - i, &code);
        char quoted[12] = "";
        size_t out = 0;
        if (n == 0) n = 1; /* repaired before; kept as it is */
        for (size_t b = 0; b < n; b++) {
            unsigned char c = (unsigned char)text[i + b];
            if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) {
                quoted[out++] = (char)c;
            } else if (c == ' ') {
                quoted[out++] = '_';
            } else {
                quoted[out++] = '=';
                quoted[out++] = hex[c >> 4];
                quoted[out++] = hex[c & 15];
            }
        }
        if (used + out > WORD_TEXT) {
            fputs("?=\r\n =?UTF-8?Q?", to);
            used = 0;
        }
        fwrite(quoted, 1, out, to);
        used += out;
        i += n;
    }
    fputs("?=", to);
}

static void put_subject(FILE *to, const si__message *m) {
    char raw[600];
    si__message_subject(m, raw, sizeof raw);
    char *subject = si__utf8_repaired(raw, strlen(raw)); /* cut in the middle of a character, perhaps */
    fputs("Subject: ", to);
    if (!subject || (is_plain(raw) && strlen(raw) < 900))
        fputs(is_plain(raw) ? raw : "[si] alert", to);
    else
        put_encoded_subject(to, subject);
    fputs("\r\n", to);
    free(subject);
}

static void put_date(FILE *to, int64_t time_ms) {
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm)) return;
    fprintf(to, "Date: %s, %02d %s %04d %02d:%02d:%02d +0000\r\n", days[tm.tm_wday % 7], tm.tm_mday,
            months[tm.tm_mon % 12], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void put_head(FILE *to, const si__message *m, const si__channel *channel) {
    const char *domain = strchr(channel->from, '@');
    fprintf(to, "From: <%s>\r\nTo: ", channel->from);
    for (size_t i = 0; i < channel->to_count; i++) fprintf(to, "%s<%s>", i ? ",\r\n " : "", channel->to[i]);
    fputs("\r\n", to);
    put_subject(to, m);
    put_date(to, m->time_ms);
    fprintf(to, "Message-ID: <si-%s%s>\r\n", m->delivery, domain);
    if (m->count == 1 && strspn(m->alerts->fingerprint, "0123456789abcdef") == strlen(m->alerts->fingerprint))
        fprintf(to, "References: <si-alert-%s%s>\r\n", m->alerts->fingerprint, domain); /* one thread per alert */
    fputs("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
          "quoted-printable\r\n"
          "Auto-Submitted: auto-generated\r\n\r\n",
          to);
}

static void put_quoted_printable(FILE *to, const char *text) {
    size_t column = 0;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '\n') {
            fputs("\r\n", to);
            column = 0;
            continue;
        }
        int at_end = text[1] == '\n' || text[1] == '\0';
        int plain = (c > ' ' && c <= '~' && c != '=') || ((c == ' ' || c == '\t') && !at_end);
        if (column + (plain ? 1 : 3) > LINE_MOST - 1) {
            fputs("=\r\n", to);
            column = 0;
        }
        if (plain)
            fputc(c, to);
        else
            fprintf(to, "=%c%c", hex[c >> 4], hex[c & 15]);
        column += plain ? 1 : 3;
    }
    if (column) fputs("\r\n", to);
}

char *si__message_mail(const si__message *m, const si__channel *channel, size_t *length) {
    char *mail = NULL, *text = si__message_text(m);
    char *valid = text ? si__utf8_repaired(text, strlen(text)) : NULL;
    FILE *to = valid ? open_memstream(&mail, length) : NULL;
    int failed = 1;
    if (to) {
        put_head(to, m, channel);
        put_quoted_printable(to, valid);
        failed = ferror(to);
        failed |= fclose(to);
    }
    free(text);
    free(valid);
    if (!failed) return mail;
    free(mail);
    return NULL;
}
