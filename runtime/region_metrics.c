/* Metrics that come out of regions: see region_metrics.h. */
#include "region_metrics.h"

#include <stdlib.h>
#include <string.h>

#include "../collectors/native/live.h"
#include "../collectors/native/procfile.h"

static void read_calls(si__region *region, uint64_t calls[4]) {
    uint32_t used = atomic_load_explicit(&region->slots_used, memory_order_acquire);
    for (uint32_t i = 0; i < used && i < SI__SLOT_COUNT; i++) {
        const si__tallies *t = si__region_tallies(region, i);
        for (int c = 0; c < 4; c++) calls[c] += atomic_load_explicit(&t->of[SI__TALLY_LOCK + c], memory_order_relaxed);
    }
}

/* What grew; a count that went back is hostile or torn, and no gain. */
static double gain(uint64_t now, uint64_t last) {
    return now > last ? (double)(now - last) : 0;
}

/* RssAnon of a process, in bytes; 0: it is gone, or an old kernel's. */
static double anonymous_bytes(pid_t pid) {
    static const char field[] = "RssAnon:";
    si__procfile file = {0};
    double bytes = 0;
    if (si__procfile_read(&file, "", "/proc/%d/status", (int)pid) == 0) {
        const char *at = strstr(file.text, field);
        if (at) bytes = strtod(at + sizeof field - 1, NULL) * 1024;
    }
    si__procfile_free(&file);
    return bytes;
}

void si__region_metrics_add(si__region *region, pid_t pid, si__region_counts *last, si__region_gains *gains) {
    si__heap_sums heap;
    si__region_counts now = {0};
    si__heap_sums_read(region, &heap);
    read_calls(region, now.calls);
    now.mallocs = heap.mallocs;
    now.frees = heap.frees;
    now.bytes = heap.bytes;
    gains->mallocs += gain(now.mallocs, last->mallocs);
    gains->frees += gain(now.frees, last->frees);
    gains->bytes += gain(now.bytes, last->bytes);
    gains->live_bytes += heap.live_bytes;
    gains->live_objects += heap.live_objects;
    for (int c = 0; c < 4; c++) {
        gains->calls[c] += gain(now.calls[c], last->calls[c]);
        gains->waits |= now.calls[c] > 0;
    }
    int heap_known = heap.mallocs > 0 || heap.entries > 0;
    if (heap_known) gains->anonymous_bytes += anonymous_bytes(pid);
    gains->heap |= heap_known;
    *last = now;
}

void si__region_metrics_put(const si__region_gains *g, double elapsed_s, const si__metric_sink *sink) {
    static const char *const calls[] = {"process.lock.calls", "process.network.calls", "process.system.calls",
                                        "process.channel.calls"};
    if (elapsed_s <= 0) return;
    if (g->heap) {
        sink->put(sink->arg, "process.heap.allocations", "{allocation}/s", g->mallocs / elapsed_s);
        sink->put(sink->arg, "process.heap.releases", "{release}/s", g->frees / elapsed_s);
        sink->put(sink->arg, "process.heap.allocated", "By/s", g->bytes / elapsed_s);
        sink->put(sink->arg, "process.heap.in_use", "By", g->live_bytes);
        sink->put(sink->arg, "process.heap.objects", "{object}", g->live_objects);
        /* Free lists, fragmentation, thread stacks: memory that no live allocation accounts for. The allocator is not
           asked, it would have to stop the program for that. */
        double idle = g->anonymous_bytes - g->live_bytes;
        if (g->anonymous_bytes > 0) sink->put(sink->arg, "process.heap.idle", "By", idle > 0 ? idle : 0);
    }
    for (int c = 0; g->waits && c < 4; c++) sink->put(sink->arg, calls[c], "{call}/s", g->calls[c] / elapsed_s);
}
