// C++ exceptions and their destructors, through C callbacks and threads, while everything is sampled.
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

extern "C" {
#include "storm_host.h"
}

static thread_local long destroyed;

struct Guard {
    std::string text;
    explicit Guard(int i) : text(40 + i % 50, 'x') {}
    ~Guard() { destroyed++; }
};

static int compare(const void *a, const void *b) {
    Guard guard(1);
    int x = *static_cast<const int *>(a), y = *static_cast<const int *>(b);
    if (x == 777 || y == 777) throw std::runtime_error("the middle of a sort");
    return x - y;
}

static int deep(int depth, std::mutex &mutex) {
    Guard guard(depth);
    std::lock_guard<std::mutex> lock(mutex);
    if (depth == 0) throw std::out_of_range("the bottom");
    mutex.unlock(); // the next one takes it; ours is given back by whoever unwinds
    int result = 0;
    try {
        result = deep(depth - 1, mutex);
    } catch (...) {
        mutex.lock();
        throw;
    }
    mutex.lock();
    return result + static_cast<int>(guard.text.size());
}

static void throw_often(long *caught) {
    std::mutex mutex;
    for (int i = 0; i < 3000; i++) {
        try {
            deep(i % 20, mutex);
        } catch (const std::out_of_range &) {
            ++*caught;
        }
        int numbers[] = {5, 3, i % 2 ? 777 : 8, 9, 1};
        try {
            qsort(numbers, 5, sizeof *numbers, compare);
        } catch (const std::exception &) {
            ++*caught;
        }
    }
    *caught += destroyed;
}

extern "C" int storm_exceptions(void) {
    long caught[4] = {0, 0, 0, 0};
    std::vector<std::thread> threads;
    for (long &count : caught) threads.emplace_back(throw_often, &count);
    for (std::thread &thread : threads) thread.join();
    std::printf("%ld %ld %ld %ld\n", caught[0], caught[1], caught[2], caught[3]);
    return 0;
}
