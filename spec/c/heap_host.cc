// A program that knows nothing of the probe: allocates in every way that C++ has. Blocks of 40,960 bytes are kept until
// the end, blocks of 51,200 are released; both leave exactly as many as `expected` says to the test that runs it.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <thread>
#include <vector>

#ifdef HEAP_HOST_OWN // an allocator that is part of the program: the simplest there is
extern "C" {
static char own_heap[64 << 20];
static std::size_t own_used;
void *malloc(std::size_t n) {
    std::size_t at = __atomic_fetch_add(&own_used, (n + 31) & ~std::size_t(15), __ATOMIC_RELAXED);
    if (n > sizeof own_heap || at + n + 16 > sizeof own_heap) return nullptr;
    std::memcpy(own_heap + at, &n, sizeof n);
    return own_heap + at + 16;
}
void free(void *) {}
void *calloc(std::size_t a, std::size_t b) {
    return malloc(a * b);
}
void *realloc(void *p, std::size_t n) {
    void *q = malloc(n);
    std::size_t had = 0;
    if (p) std::memcpy(&had, static_cast<char *>(p) - 16, sizeof had);
    if (q && p) std::memcpy(q, p, had < n ? had : n);
    return q;
}
void *aligned_alloc(std::size_t alignment, std::size_t n) {
    auto at = reinterpret_cast<std::size_t>(malloc(n + alignment));
    return at ? reinterpret_cast<void *>((at + alignment - 1) / alignment * alignment) : nullptr;
}
}
#endif

namespace {

constexpr std::size_t kKept = 40960, kFreed = 51200;
constexpr auto kWide = std::align_val_t(256);
void *volatile sink;

template <typename P> P *use(P *p) {
    sink = static_cast<void *>(p);
    return p;
}

// 12 blocks are kept, each made by another operator or function.
void keep() {
    use(::operator new(kKept));
    use(::operator new[](kKept));
    use(::operator new(kKept, std::nothrow));
    use(::operator new[](kKept, std::nothrow));
    use(::operator new(kKept, kWide));
    use(::operator new[](kKept, kWide));
    use(::operator new(kKept, kWide, std::nothrow));
    use(::operator new[](kKept, kWide, std::nothrow));
    use(std::malloc(kKept));
    use(std::calloc(kKept / 64, 64));
    use(std::realloc(use(std::malloc(kFreed)), kKept));
    use(new std::string(kKept - 1, 'x'));
}

void release() {
    ::operator delete(use(::operator new(kFreed)));
    ::operator delete[](use(::operator new[](kFreed)));
    ::operator delete(use(::operator new(kFreed)), kFreed);
    ::operator delete[](use(::operator new[](kFreed)), kFreed);
    ::operator delete(use(::operator new(kFreed, std::nothrow)), std::nothrow);
    ::operator delete[](use(::operator new[](kFreed, std::nothrow)), std::nothrow);
    ::operator delete(use(::operator new(kFreed, kWide)), kWide);
    ::operator delete[](use(::operator new[](kFreed, kWide)), kWide);
    ::operator delete(use(::operator new(kFreed, kWide)), kFreed, kWide);
    ::operator delete[](use(::operator new[](kFreed, kWide)), kFreed, kWide);
    ::operator delete(use(::operator new(kFreed, kWide, std::nothrow)), kWide, std::nothrow);
    ::operator delete[](use(::operator new[](kFreed, kWide, std::nothrow)), kWide, std::nothrow);
    std::free(use(std::malloc(kFreed)));
    delete use(new std::string(kFreed - 1, 'x'));
}

// More than there is: the exception passes through whatever stands in front of operator new.
bool too_much_throws() {
    static volatile std::size_t much = std::size_t(1) << 62;
    try {
        use(::operator new(much));
    } catch (const std::bad_alloc &) {
        return ::operator new(much, std::nothrow) == nullptr;
    }
    return false;
}

void churn() {
    std::vector<std::string *> held(32, nullptr);
    for (unsigned i = 0; i < 2000; i++) {
        delete held[i % 32];
        held[i % 32] = new std::string(100 + i % 64, 'c');
    }
    for (std::string *p : held) delete p;
}

} // namespace

int main(int argc, char **argv) {
    const std::string what = argc > 1 ? argv[1] : "";
    keep();
    release();
    if (!too_much_throws()) return 1;
    if (what == "threads") {
        std::vector<std::thread> threads;
        for (int i = 0; i < 64; i++) threads.emplace_back(churn);
        for (auto &t : threads) t.join();
    }
    if (what == "fork") {
        void *inherited = use(std::malloc(kKept)); // the 13th; the child releases its copy
        pid_t child = fork();
        if (child == 0) {
            std::free(inherited);
            for (int i = 0; i < 3; i++) use(std::malloc(kKept));
            std::thread(churn).join();
            std::exit(0);
        }
        int status = 0;
        if (waitpid(child, &status, 0) != child || status != 0) return 2;
        pid_t shared = vfork();
        if (shared == 0) execl("/bin/true", "true", static_cast<char *>(nullptr));
        if (waitpid(shared, &status, 0) != shared || status != 0) return 3;
    }
    std::printf("done\n");
    return 0;
}
