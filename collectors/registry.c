/* Every collector, in the order they are shown. The only place that names them. */
#include "collector.h"

const si__collector *const si__collectors[] = {NULL};
