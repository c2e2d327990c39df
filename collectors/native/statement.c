/* SQL statements without their literals: see statement.h. One pass over the text, one token at a time. */
#include "statement.h"

#include <string.h>
#include <strings.h>

#include "statement_fit.h"

enum { LOOK_BYTES = 8192, WORD_BYTES = 24 };

typedef enum token { NONE, WORD, LITERAL, OPERATOR, OPEN, CLOSE, GROUP, COMMA, DOT, SEMICOLON } token;

typedef struct reader {
    const char *at, *end;
    si__dialect dialect;
    int cut;    /* the text goes on behind `end` */
    int broken; /* it cannot be parsed */
    int space;  /* there was white space before the next token */
    /* What was written. A GROUP is a closed list of literals. */
    char text[SI__STATEMENT_BYTES];
    size_t length;
    int full;
    token last, before, earlier; /* the last three tokens */
    char word[WORD_BYTES], previous_word[WORD_BYTES];
    size_t literal_end, group_end, group_start; /* in text */
    int depth, values_depth;                    /* values_depth: of the rows behind VALUES; -1: not there */
    int mute;                                   /* in a further row */
    int words, secret;
    char verb[WORD_BYTES], object[WORD_BYTES];
} reader;

static int is_word_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}
static int is_digit(char c) {
    return c >= '0' && c <= '9';
}
static int is_word(char c) {
    return is_word_start(c) || is_digit(c) || c == '$';
}
static int is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}
static char peek(const reader *r, size_t ahead) {
    return (size_t)(r->end - r->at) > ahead ? r->at[ahead] : '\0';
}

static int is_one_of(const char *word, const char *const *list) {
    for (; *list; list++)
        if (strcasecmp(word, *list) == 0) return 1;
    return 0;
}

/* ---- Writing ---- */

static void put(reader *r, const char *text, size_t length) {
    size_t blank = r->space && r->length > 0;
    if (r->mute || r->full) return;
    if (r->length + blank + length >= sizeof r->text) {
        r->full = 1;
        return;
    }
    if (blank) r->text[r->length++] = ' ';
    memcpy(r->text + r->length, text, length);
    r->length += length;
}

static void take(reader *r, token kind) {
    r->earlier = r->before;
    r->before = r->last;
    r->last = kind;
    r->space = 0;
}

/* Words after which a sign belongs to a number. */
static const char *const before_value[] = {"SELECT", "WHERE", "AND",    "OR",     "NOT", "IN",   "LIKE", "BETWEEN",
                                           "THEN",   "ELSE",  "WHEN",   "LIMIT",  "BY",  "CASE", "ON",   "OFFSET",
                                           "HAVING", "SET",   "VALUES", "RETURN", "IS",  NULL};

static int is_sign(const reader *r) {
    if (r->last != OPERATOR || r->length == 0) return 0;
    char c = r->text[r->length - 1];
    if (c != '-' && c != '+') return 0;
    return r->before == OPERATOR || r->before == OPEN || r->before == COMMA || r->before == NONE ||
           (r->before == WORD && is_one_of(r->word, before_value));
}

static void put_literal(reader *r) {
    if (r->last == LITERAL) { /* 'two' 'halves' */
        r->space = 0;
        return;
    }
    if (!r->mute && !r->full) {
        if (is_sign(r)) {
            r->length--;
            r->space &= r->length == 0 || r->text[r->length - 1] != ' ';
            r->last = r->before;
            r->before = r->earlier;
        }
        if (r->last == COMMA && r->before == LITERAL) { /* one more in a list */
            r->length = r->literal_end;
            r->last = LITERAL;
            r->space = 0;
            return;
        }
        put(r, "?", 1);
        r->literal_end = r->length;
    }
    take(r, LITERAL);
}

static void open_group(reader *r) {
    int follows = r->last == COMMA && r->before == GROUP;
    put(r, "(", 1);
    if (!follows) r->group_end = 0;
    r->group_start = r->length - (r->length > 0);
    r->depth++;
    take(r, OPEN);
}

static void close_group(reader *r) {
    int list = r->last == LITERAL && !r->mute && r->length == r->group_start + 2;
    put(r, ")", 1);
    if (--r->depth < 0) r->broken = 1;
    if (list && r->group_end)
        r->length = r->group_end; /* (?), (?) */
    else if (list)
        r->group_end = r->length;
    if (r->depth < r->values_depth) {
        r->values_depth = -1;
        r->mute = 0;
    }
    take(r, list ? GROUP : CLOSE);
}

static void put_comma(reader *r) {
    if (r->values_depth >= 0 && r->depth == r->values_depth) r->mute = 1;
    put(r, ",", 1);
    take(r, COMMA);
}

/* ---- What is skipped ---- */

static void skip_line(reader *r) {
    while (r->at < r->end && *r->at != '\n') r->at++;
    r->space = 1;
}

/* Comments nest in PostgreSQL. */
static void skip_comment(reader *r) {
    int depth = 0;
    while (r->at < r->end) {
        if (peek(r, 0) == '/' && peek(r, 1) == '*' && (depth == 0 || r->dialect == SI__SQL_POSTGRES)) {
            depth++;
            r->at += 2;
        } else if (peek(r, 0) == '*' && peek(r, 1) == '/') {
            r->at += 2;
            if (--depth == 0) break;
        } else {
            r->at++;
        }
    }
    if (depth && !r->cut && r->dialect != SI__SQL_SQLITE) r->broken = 1;
    r->space = 1;
}

/* From a quote to behind its partner. `escapes`: a backslash takes the next character. */
static void skip_quoted(reader *r, char partner, int escapes) {
    for (r->at++; r->at < r->end; r->at++) {
        if (*r->at == '\\' && escapes) {
            if (r->at + 1 < r->end) r->at++;
            continue;
        }
        if (*r->at != partner) continue;
        if (peek(r, 1) != partner) {
            r->at++;
            return;
        }
        r->at++; /* doubled: stands for itself */
    }
    if (!r->cut) r->broken = 1;
}

/* $$text$$, $tag$text$tag$. 0: it is none. */
static int skip_dollar_quoted(reader *r) {
    const char *tag_end = r->at + 1;
    while (tag_end < r->end && is_word(*tag_end) && *tag_end != '$') tag_end++;
    if (tag_end >= r->end || *tag_end != '$' || is_digit(r->at[1])) return 0;
    size_t tag = (size_t)(tag_end + 1 - r->at);
    const char *body = tag_end + 1, *close = memmem(body, (size_t)(r->end - body), r->at, tag);
    if (!close && !r->cut) r->broken = 1;
    r->at = close ? close + tag : r->end;
    return 1;
}

/* ---- Tokens ---- */

/* A quoted name, or what some take for a string. */
static void read_quoted_name(reader *r, char partner) {
    const char *start = r->at;
    skip_quoted(r, partner, r->dialect == SI__SQL_MYSQL && partner == '"');
    size_t length = (size_t)(r->at - start);
    int plain = length > 2 && length <= 66;
    for (size_t i = 1; plain && i + 1 < length; i++) plain = is_word(start[i]) || start[i] == '.' || start[i] == '-';
    int value = partner == '"' && r->dialect == SI__SQL_MYSQL;
    if (partner == '"' && r->dialect == SI__SQL_SQLITE && peek(r, 0) != '.') /* where a value stands, it is one */
        value = r->last == OPERATOR || r->values_depth >= 0 ||
                (r->last == WORD && (!strcasecmp(r->word, "LIKE") || !strcasecmp(r->word, "GLOB"))) ||
                ((r->last == OPEN || r->last == COMMA) && !strcasecmp(r->previous_word, "IN"));
    if (value || !plain) {
        put_literal(r);
        return;
    }
    put(r, start, length);
    take(r, WORD);
}

static void read_number(reader *r) {
    int hex = peek(r, 0) == '0' && (peek(r, 1) | 0x20) == 'x';
    for (r->at += hex ? 2 : 0; r->at < r->end; r->at++) {
        char c = *r->at;
        int exponent = !hex && (c == '+' || c == '-') && (r->at[-1] | 0x20) == 'e';
        if (!is_word(c) && c != '.' && !exponent) break;
    }
    put_literal(r);
}

/* N'..', E'..', X'..', _utf8'..': how the string is written is of no interest. */
static int read_prefixed(reader *r, const char *start, size_t length) {
    char quote = peek(r, 0);
    int unicode = quote == '&' && length == 1 && (*start | 0x20) == 'u' && (peek(r, 1) == '\'' || peek(r, 1) == '"');
    if (unicode) r->at++;
    if (unicode && *r->at == '"') {
        skip_quoted(r, '"', 0);
        put_literal(r);
        return 1;
    }
    if (!unicode && (quote != '\'' || (length > 1 && *start != '_'))) return 0;
    skip_quoted(r, '\'', r->dialect == SI__SQL_MYSQL || (length == 1 && (*start | 0x20) == 'e'));
    put_literal(r);
    return 1;
}

static const char *const guarded_verbs[] = {"CREATE", "ALTER", "GRANT", "CHANGE", "DROP", "START", NULL};
static const char *const secret_words[] = {"PASSWORD", "IDENTIFIED", "ENCRYPTED", "USER",    "ROLE",
                                           "LOGIN",    "SERVER",     "MASTER",    "REPLICA", NULL};
static const char *const truths[] = {"TRUE", "FALSE", "NULL", NULL};

static void note_word(reader *r, const char *word) {
    r->words++;
    if (r->words == 1) memcpy(r->verb, word, WORD_BYTES);
    if (r->words == 2) memcpy(r->object, word, WORD_BYTES);
    if (r->words > 1 && is_one_of(r->verb, guarded_verbs) && is_one_of(word, secret_words)) r->secret = 1;
    memcpy(r->previous_word, r->word, WORD_BYTES);
    memcpy(r->word, word, WORD_BYTES);
}

static void read_word(reader *r) {
    const char *start = r->at;
    char word[WORD_BYTES] = "";
    while (r->at < r->end && is_word(*r->at)) r->at++;
    size_t length = (size_t)(r->at - start);
    memcpy(word, start, length < sizeof word ? length : sizeof word - 1);
    if (read_prefixed(r, start, length)) return;
    int states = r->last == WORD && (!strcasecmp(r->word, "IS") || !strcasecmp(r->word, "NOT"));
    if (is_one_of(word, truths) && !states && r->last != DOT) {
        put_literal(r);
        return;
    }
    if (r->depth == r->values_depth) { /* behind the rows */
        r->values_depth = -1;
        r->mute = 0;
    }
    if (!strcasecmp(word, "VALUES") && (r->last == WORD || r->last == CLOSE || r->last == NONE))
        r->values_depth = r->depth;
    put(r, start, length);
    note_word(r, word);
    take(r, WORD);
}

static int is_parameter(const reader *r) {
    char c = peek(r, 0), next = peek(r, 1);
    if (c == '?') return r->dialect != SI__SQL_POSTGRES;
    if (c == '$') return is_digit(next) || (r->dialect != SI__SQL_POSTGRES && is_word_start(next));
    if (r->dialect == SI__SQL_POSTGRES) return 0;
    return (c == ':' || c == '@') && is_word(next) && next != '$';
}

static int read_marker(reader *r) {
    char c = peek(r, 0), next = peek(r, 1);
    int line = c == '-' && next == '-' &&
               (r->dialect != SI__SQL_MYSQL || is_space(peek(r, 2)) || (size_t)(r->end - r->at) == 2);
    if (line || (c == '#' && r->dialect == SI__SQL_MYSQL)) {
        skip_line(r);
    } else if (c == '/' && next == '*') {
        skip_comment(r);
    } else if (c == '$' && r->dialect == SI__SQL_POSTGRES && !is_digit(next) && skip_dollar_quoted(r)) {
        put_literal(r);
    } else if (c == '@' && next == '@') { /* MySQL's own variables */
        r->at += 2;
        put(r, "@@", 2);
        take(r, OPERATOR);
    } else if (is_parameter(r)) {
        for (r->at++; r->at < r->end && is_word(*r->at);) r->at++;
        put_literal(r);
    } else {
        return 0;
    }
    return 1;
}

static void read_symbol(reader *r) {
    char c = *r->at++;
    switch (c) {
    case '(':
        open_group(r);
        return;
    case ')':
        close_group(r);
        return;
    case ',':
        put_comma(r);
        return;
    case ';':
        r->values_depth = -1;
        r->mute = 0;
        put(r, ";", 1);
        take(r, SEMICOLON);
        return;
    case '.':
        put(r, ".", 1);
        take(r, DOT);
        return;
    default:
        if ((unsigned char)c < 0x20 || c == 0x7f) r->broken = 1;
        put(r, &c, 1);
        take(r, OPERATOR);
    }
}

static void read_token(reader *r) {
    char c = *r->at, next = peek(r, 1);
    if (is_space(c)) {
        r->at++;
        r->space = 1;
    } else if (is_digit(c) || (c == '.' && is_digit(next) && r->last != WORD)) {
        read_number(r);
    } else if (is_word_start(c)) {
        read_word(r);
    } else if (c == '\'') {
        skip_quoted(r, '\'', r->dialect == SI__SQL_MYSQL);
        put_literal(r);
    } else if (c == '"' || c == '`') {
        read_quoted_name(r, c);
    } else if (c == '[' && r->dialect == SI__SQL_SQLITE) {
        read_quoted_name(r, ']');
    } else if (!read_marker(r)) {
        read_symbol(r);
    }
}

/* ---- The whole ---- */

/* SET, PRAGMA and the like: what is set, not to what. */
static int is_setting(const char *verb) {
    static const char *const verbs[] = {"SET", "PRAGMA", "RESET", "ATTACH", NULL};
    return is_one_of(verb, verbs);
}

static size_t setting_length(const char *text, size_t length) {
    static const char *const modifiers[] = {"SET", "RESET", "PRAGMA", "SESSION", "GLOBAL", "LOCAL", "PERSIST", NULL};
    size_t at = 0;
    if (!strncasecmp(text, "ATTACH", 6)) return 6;
    while (at < length) {
        char word[WORD_BYTES] = "";
        size_t start = at;
        while (at < length && (is_word(text[at]) || text[at] == '.' || text[at] == '@')) at++;
        memcpy(word, text + start, at - start < sizeof word ? at - start : sizeof word - 1);
        if (!is_one_of(word, modifiers) || at >= length || text[at] != ' ') break;
        if (at + 1 < length && !is_word_start(text[at + 1]) && text[at + 1] != '@') break;
        at++;
    }
    return at;
}

static void name_of_verb(const reader *r, char *out) {
    size_t length = 0;
    for (; r->verb[length] && length < WORD_BYTES - 1; length++) {
        char c = r->verb[length];
        if (c >= 'a' && c <= 'z') c = (char)(c - 0x20);
        if (c < 'A' || c > 'Z') break;
        out[length] = c;
    }
    out[length] = '\0';
    if (length < 2 || r->verb[length]) strcpy(out, "SQL");
}

void si__statement_name(si__dialect dialect, const char *text, size_t length, char *out) {
    static const reader nothing = {.values_depth = -1};
    reader r = nothing;
    r.dialect = dialect;
    r.at = text;
    r.end = text ? text + (length < LOOK_BYTES ? length : LOOK_BYTES) : text;
    r.cut = length > LOOK_BYTES;
    while (r.at < r.end && !r.broken) read_token(&r);
    while (r.length && (r.text[r.length - 1] == ';' || r.text[r.length - 1] == ' ')) r.length--;
    if (r.length == 0 || r.broken || r.words == 0) {
        name_of_verb(&r, out);
    } else if (r.secret) {
        static const char *const objects[] = {"USER", "ROLE", "SERVER", "LOGIN", "MASTER", "TABLE", NULL};
        name_of_verb(&r, out);
        if (is_one_of(r.object, objects)) {
            strcat(out, " ");
            strcat(out, r.object);
        }
    } else {
        r.text[r.length] = '\0';
        si__statement_fit(r.text, is_setting(r.verb) ? setting_length(r.text, r.length) : r.length, out);
        if (!out[0]) name_of_verb(&r, out);
    }
}
