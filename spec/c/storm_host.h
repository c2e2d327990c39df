/* Programs that try a profiler's patience: each is run with and without us and must behave the same. */
#ifndef SI_SPEC_STORM_HOST_H
#define SI_SPEC_STORM_HOST_H

/* Runs storm `name` and returns its exit code; -1: there is no such storm. Everything that a storm prints is the same
   at every run. */
int storm_host(const char *name);

int storm_exceptions(void); /* storm_exceptions.cc */

#endif
