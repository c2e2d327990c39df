/* The smallest observed program: open, measure a segment, work, close. Build: cc minimal.c $(pkg-config --cflags --libs
 * si) */
#include <math.h>
#include <si/si.h>
#include <stdio.h>

int main(void) {
    si_options options;
    si_options_init(&options); /* SI_DASHBOARD_URL, SI_AGENT_KEY and the other SI_* variables are read here */
    options.app_name = "minimal";
    si_runtime *runtime;
    int error = si_runtime_open(&runtime, &options);
    if (error) fprintf(stderr, "not observed: %s\n", si_strerror(error)); /* the program goes on all the same */

    double sum = 0;
    for (int round = 0; round < 200; round++) {
        SI_SEGMENT("round") {
            for (int i = 1; i <= 500000; i++) sum += sin(sum + i);
        }
    }
    printf("%f\n", sum);
    return si_runtime_close(runtime, 2000) ? 1 : 0;
}
