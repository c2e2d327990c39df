/*
 * Watches a rules directory (and the channels file) for saved changes by comparing names, sizes and times twice a
 * second: a save is in force 0.1 to 0.6 s later. Polling works where inotify does not (bind mounts, network file
 * systems, a directory that is swapped) and costs about 20 us. Without either path nothing is done. Loop thread only.
 */
#ifndef SI_RULES_WATCH_H
#define SI_RULES_WATCH_H

#include <uv.h>

typedef struct si__rules_watch si__rules_watch;

/* `changed` is called on the loop once what was found has stayed the same for a tenth of a second (a save may take
   several writes). Either path may be NULL. NULL: out of memory. */
si__rules_watch *si__rules_watch_new(uv_loop_t *loop, const char *dir, const char *file, void (*changed)(void *arg),
                                     void *arg);
void si__rules_watch_close(si__rules_watch *watch); /* asynchronous; frees itself */

#endif
