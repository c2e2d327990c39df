/*
 * The types of profiles: what their values are in, and how several of them make one. The one table of that.
 *
 * A flow (time used, bytes allocated, time waited) adds up. A level (bytes that live at one moment) does not: over a
 * range of time it is the average of each source, and the sources' averages add up. Types that are not in the table are
 * flows. Pure; any thread.
 */
#ifndef SI_SERVER_KIND_H
#define SI_SERVER_KIND_H

typedef enum si__kind_nature { SI__FLOW, SI__LEVEL } si__kind_nature;

typedef struct si__kind {
    const char *type;
    const char *unit;   /* "" for types that are not known here: reports say what theirs is */
    const char *counts; /* what a node's count counts */
    si__kind_nature nature;
} si__kind;

const si__kind *si__kind_of(const char *type); /* never NULL */
const si__kind *si__kinds(int *count);         /* all that are known */

#endif
