/* Runs a uv loop until something has come true, at most 20 seconds. */
#ifndef SPEC_LOOP_UNTIL_H
#define SPEC_LOOP_UNTIL_H

#include <uv.h>

static void loop_until_beat(uv_timer_t *timer) {
    (void)timer;
}

static inline void loop_until_gone(uv_handle_t *handle) {
    *(int *)handle->data = 1;
}

#define LOOP_UNTIL(loop, condition)                                                                                    \
    do {                                                                                                               \
        uv_timer_t beat_;                                                                                              \
        int gone_ = 0;                                                                                                 \
        uint64_t deadline_ = uv_hrtime() + 20000000000ull;                                                             \
        uv_timer_init(loop, &beat_);                                                                                   \
        beat_.data = &gone_;                                                                                           \
        uv_timer_start(&beat_, loop_until_beat, 5, 5);                                                                 \
        while (!(condition) && uv_hrtime() < deadline_) uv_run(loop, UV_RUN_ONCE);                                     \
        uv_close((uv_handle_t *)&beat_, loop_until_gone);                                                              \
        while (!gone_) uv_run(loop, UV_RUN_ONCE);                                                                      \
        if (!(condition)) fail_msg("never came true: %s", #condition);                                                 \
    } while (0)

#endif
