/*
 * Lua patterns with a step budget. Called by the capped string library and by the engine to select series and segments.
 *
 * A backtracking matcher: one function per construct, each returns the end of the match of the rest of the pattern or
 * NULL. Every attempt costs a step; when the budget is used up or the nesting too deep, match->error ends it all.
 */
#include "pattern.h"

#include <ctype.h>
#include <string.h>

#define MAX_DEPTH 200

static const char *match_rest(si__pattern_match *m, const char *s, const char *p);

static const char *fail(si__pattern_match *m, const char *error) {
    if (!m->error) m->error = error;
    return NULL;
}

/* The end of the single-character item that starts at p, or NULL with an error. */
static const char *item_end(si__pattern_match *m, const char *p) {
    char first = *p++;
    if (first == '%') return p == m->pattern_end ? fail(m, "malformed pattern (ends with '%')") : p + 1;
    if (first != '[') return p;
    if (p < m->pattern_end && *p == '^') p++;
    do { /* a ']' that comes first is an ordinary member */
        if (p == m->pattern_end) return fail(m, "malformed pattern (missing ']')");
        if (*p++ == '%') {
            if (p == m->pattern_end) return fail(m, "malformed pattern (missing ']')");
            p++;
        }
    } while (p == m->pattern_end || *p != ']');
    return p + 1;
}

static int in_class(int c, int class) {
    int yes;
    switch (tolower(class)) {
    case 'a':
        yes = isalpha(c);
        break;
    case 'c':
        yes = iscntrl(c);
        break;
    case 'd':
        yes = isdigit(c);
        break;
    case 'g':
        yes = isgraph(c);
        break;
    case 'l':
        yes = islower(c);
        break;
    case 'p':
        yes = ispunct(c);
        break;
    case 's':
        yes = isspace(c);
        break;
    case 'u':
        yes = isupper(c);
        break;
    case 'w':
        yes = isalnum(c);
        break;
    case 'x':
        yes = isxdigit(c);
        break;
    default:
        return class == c;
    }
    return isupper(class) ? !yes : !!yes;
}

/* p at '[', end behind ']'. */
static int in_set(int c, const char *p, const char *end) {
    int wanted = 1;
    const char *last = end - 1;
    p++;
    if (*p == '^') {
        wanted = 0;
        p++;
    }
    const char *first = p;
    while (p < last || p == first) {
        if (*p == '%') {
            if (in_class(c, (unsigned char)p[1])) return wanted;
            p += 2;
        } else if (p + 2 < last && p[1] == '-') {
            if ((unsigned char)p[0] <= c && c <= (unsigned char)p[2]) return wanted;
            p += 3;
        } else {
            if ((unsigned char)*p == c) return wanted;
            p++;
        }
    }
    return !wanted;
}

static int matches_one(const si__pattern_match *m, const char *s, const char *p, const char *p_end) {
    if (s >= m->subject_end) return 0;
    int c = (unsigned char)*s;
    switch (*p) {
    case '.':
        return 1;
    case '%':
        return in_class(c, (unsigned char)p[1]);
    case '[':
        return in_set(c, p, p_end);
    default:
        return (unsigned char)*p == c;
    }
}

static int step(si__pattern_match *m) {
    if (++m->steps <= m->max_steps) return 1;
    fail(m, "pattern too expensive for this text");
    return 0;
}

static const char *match_balance(si__pattern_match *m, const char *s, const char *p) {
    if (m->pattern_end - p < 2) return fail(m, "malformed pattern (missing arguments to '%b')");
    if (s >= m->subject_end || *s != p[0]) return NULL;
    size_t open = 1;
    for (const char *at = s + 1; at < m->subject_end; at++) {
        if (!step(m)) return NULL;
        if (*at == p[1]) {
            if (--open == 0) return match_rest(m, at + 1, p + 2);
        } else if (*at == p[0]) {
            open++;
        }
    }
    return NULL;
}

static const char *match_frontier(si__pattern_match *m, const char *s, const char *p) {
    if (p >= m->pattern_end || *p != '[') return fail(m, "missing '[' after '%f' in pattern");
    const char *end = item_end(m, p);
    if (!end) return NULL;
    int before = s == m->subject ? 0 : (unsigned char)s[-1];
    int here = s < m->subject_end ? (unsigned char)*s : 0;
    if (in_set(before, p, end) || !in_set(here, p, end)) return NULL;
    return match_rest(m, s, end);
}

static const char *match_backreference(si__pattern_match *m, const char *s, const char *p) {
    int index = *p - '1';
    if (index < 0 || index >= m->level || m->capture[index].length == SI__CAPTURE_OPEN)
        return fail(m, "invalid capture index in pattern");
    ptrdiff_t length = m->capture[index].length;
    if (length == SI__CAPTURE_POSITION || length > m->subject_end - s) return NULL;
    m->steps += (uint64_t)length;
    if (memcmp(m->capture[index].start, s, (size_t)length) != 0) return NULL;
    return match_rest(m, s + length, p + 1);
}

static const char *open_capture(si__pattern_match *m, const char *s, const char *p) {
    ptrdiff_t kind = SI__CAPTURE_OPEN;
    if (m->level >= SI__PATTERN_CAPTURES) return fail(m, "too many captures");
    if (p < m->pattern_end && *p == ')') {
        kind = SI__CAPTURE_POSITION;
        p++;
    }
    int level = m->level++;
    m->capture[level].start = s;
    m->capture[level].length = kind;
    const char *end = match_rest(m, s, p);
    if (!end) m->level = level;
    return end;
}

static const char *close_capture(si__pattern_match *m, const char *s, const char *p) {
    int level = m->level - 1;
    while (level >= 0 && m->capture[level].length != SI__CAPTURE_OPEN) level--;
    if (level < 0) return fail(m, "invalid pattern capture");
    m->capture[level].length = s - m->capture[level].start;
    const char *end = match_rest(m, s, p);
    if (!end) m->capture[level].length = SI__CAPTURE_OPEN;
    return end;
}

/* As many as possible (at least `least`), then give back one by one. */
static const char *match_greedy(si__pattern_match *m, const char *s, const char *p, const char *p_end,
                                ptrdiff_t least) {
    ptrdiff_t n = 0;
    while (matches_one(m, s + n, p, p_end)) {
        if (!step(m)) return NULL;
        n++;
    }
    for (; n >= least; n--) {
        const char *end = match_rest(m, s + n, p_end + 1);
        if (end || m->error) return end;
        if (!step(m)) return NULL;
    }
    return NULL;
}

static const char *match_lazy(si__pattern_match *m, const char *s, const char *p, const char *p_end) {
    for (;;) {
        const char *end = match_rest(m, s, p_end + 1);
        if (end || m->error) return end;
        if (!step(m) || !matches_one(m, s, p, p_end)) return NULL;
        s++;
    }
}

/* One item with its suffix. Returns 1 and moves on in place when nothing has to be tried twice. */
static int match_item(si__pattern_match *m, const char **s, const char **p, const char **result) {
    const char *end = item_end(m, *p);
    *result = NULL;
    if (!end) return 0;
    char suffix = end < m->pattern_end ? *end : '\0';
    switch (suffix) {
    case '*':
        *result = match_greedy(m, *s, *p, end, 0);
        return 0;
    case '+':
        *result = match_greedy(m, *s, *p, end, 1);
        return 0;
    case '-':
        *result = match_lazy(m, *s, *p, end);
        return 0;
    case '?':
        if (matches_one(m, *s, *p, end)) {
            *result = match_rest(m, *s + 1, end + 1);
            if (*result || m->error) return 0;
        }
        *p = end + 1;
        return 1;
    default:
        if (!matches_one(m, *s, *p, end)) return 0;
        (*s)++;
        *p = end;
        return 1;
    }
}

static const char *match_steps(si__pattern_match *m, const char *s, const char *p) {
    while (p < m->pattern_end) {
        const char *result;
        if (!step(m)) return NULL;
        if (*p == '(') return open_capture(m, s, p + 1);
        if (*p == ')') return close_capture(m, s, p + 1);
        if (*p == '$' && p + 1 == m->pattern_end) return s == m->subject_end ? s : NULL;
        if (*p == '%' && p + 1 < m->pattern_end) {
            if (p[1] == 'b') return match_balance(m, s, p + 2);
            if (p[1] == 'f') return match_frontier(m, s, p + 2);
            if (isdigit((unsigned char)p[1])) return match_backreference(m, s, p + 1);
        }
        if (!match_item(m, &s, &p, &result)) return result;
    }
    for (int i = 0; i < m->level; i++)
        if (m->capture[i].length == SI__CAPTURE_OPEN) return fail(m, "unfinished capture");
    return s;
}

static const char *match_rest(si__pattern_match *m, const char *s, const char *p) {
    if (m->error) return NULL;
    if (m->depth >= MAX_DEPTH) return fail(m, "pattern too complex");
    m->depth++;
    const char *end = match_steps(m, s, p);
    m->depth--;
    return end;
}

void si__pattern_begin(si__pattern_match *match, const char *subject, size_t subject_length, uint64_t max_steps) {
    memset(match, 0, sizeof *match);
    match->subject = subject;
    match->subject_end = subject + subject_length;
    match->max_steps = max_steps;
}

const char *si__pattern_at(si__pattern_match *match, const char *at, const char *pattern, size_t pattern_length) {
    match->level = 0;
    match->depth = 0;
    match->pattern_end = pattern + pattern_length;
    return match_rest(match, at, pattern);
}

int si__pattern_whole(const char *pattern, const char *text, const char **error) {
    char anchored[1024];
    size_t n = strlen(pattern);
    *error = NULL;
    if (*pattern == '^') {
        pattern++;
        n--;
    }
    if (n + 2 > sizeof anchored) {
        *error = "pattern too long";
        return -1;
    }
    memcpy(anchored, pattern, n);
    /* "a$" is anchored already, "a%$" ends in a literal '$' */
    size_t escapes = 0;
    while (n >= 2 + escapes && pattern[n - 2 - escapes] == '%') escapes++;
    if (n == 0 || pattern[n - 1] != '$' || escapes % 2) anchored[n++] = '$';
    si__pattern_match m;
    si__pattern_begin(&m, text, strlen(text), 20000);
    const char *end = si__pattern_at(&m, text, anchored, n);
    *error = m.error;
    return m.error ? -1 : end != NULL;
}
