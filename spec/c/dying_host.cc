/*
 * A program that dies as its first word says: what spec/c/death_run_test.c runs, with us and without. Says "begin"
 * first, and whatever its own handlers do.
 */
#include <cassert>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <pthread.h>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define OUT_OF_LINE __attribute__((noinline))

// NOLINTBEGIN: all of it is wrong on purpose
namespace {

int *volatile nothing;
volatile int zero, sink;
sigjmp_buf back;
struct sigaction behind;

void say(const char *text) {
    if (write(STDOUT_FILENO, text, strlen(text)) < 0) _exit(99);
}

/* ---- Ways to crash ---- */

OUT_OF_LINE void null() {
    *nothing = 1;
}
OUT_OF_LINE void wild() {
    reinterpret_cast<void (*)()>(0x123456789000)();
    sink = 1;
}
OUT_OF_LINE int deep(int n) {
    volatile char space[500];
    space[0] = static_cast<char>(n);
    return n < 0 ? 0 : deep(n + 1) + space[0];
}
OUT_OF_LINE void overflow() {
    sink = deep(0);
}
OUT_OF_LINE void twice() {
    void *volatile block = malloc(100);
    free(block);
    free(block);
}
OUT_OF_LINE void damaged() { /* glibc's allocator faults, its lock held */
    char *blocks[64];
    for (char *&block : blocks) block = static_cast<char *>(malloc(2000));
    for (int i = 0; i < 64; i += 2) free(blocks[i]);
    for (int i = 0; i < 64; i += 2) memset(blocks[i], 0x41, 2000);
    for (size_t i = 0; i < 200; i++) sink = malloc(1400 + i * 16) != nullptr;
}
OUT_OF_LINE void divide() {
    sink = 5 / zero;
}
OUT_OF_LINE void illegal() {
    __builtin_trap();
}
OUT_OF_LINE void truncated() {
    char name[] = "/tmp/si-dying-XXXXXX";
    int file = mkstemp(name);
    unlink(name);
    if (ftruncate(file, 4096) != 0) _exit(98);
    volatile char *page = static_cast<char *>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    page[0] = 1;
    if (ftruncate(file, 0) != 0) _exit(98);
    page[1] = 2;
}
struct Base {
    Base() { call(); }
    virtual ~Base() = default;
    OUT_OF_LINE void call() { pure(); }
    virtual void pure() = 0;
};
struct Derived : Base {
    void pure() override {}
};
OUT_OF_LINE void pure() {
    Derived derived;
}
OUT_OF_LINE void raised() {
    throw std::runtime_error("the text of it");
}
OUT_OF_LINE void promised() noexcept {
    raised();
}
OUT_OF_LINE void terminated() {
    std::terminate();
}
OUT_OF_LINE void aborted() {
    abort();
}
OUT_OF_LINE void asserted() {
    assert(zero == 1);
}
OUT_OF_LINE void killed() {
    kill(getpid(), SIGKILL);
}

/* ---- Threads and children ---- */

void *enter(void *crash) {
    reinterpret_cast<void (*)()>(crash)();
    return nullptr;
}

void on_thread(void (*crash)(), size_t stack_bytes) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (stack_bytes) pthread_attr_setstacksize(&attributes, stack_bytes);
    pthread_create(&thread, &attributes, enter, reinterpret_cast<void *>(crash));
    pthread_join(thread, nullptr);
}

void block_all() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

void null_with_all_blocked() {
    block_all();
    null();
}

void in_child(void (*crash)()) {
    pid_t child = fork();
    int status = 0;
    if (child == 0) crash();
    waitpid(child, &status, 0);
    printf("child %d\n", WTERMSIG(status));
}

/* ---- Handlers ---- */

void handle(int signal, void *handler, int flags) {
    struct sigaction action = {};
    action.sa_handler = reinterpret_cast<void (*)(int)>(handler);
    action.sa_flags = flags;
    sigaction(signal, &action, &behind);
}

template <class Function> void *at(Function *function) {
    return reinterpret_cast<void *>(function);
}

void alternate() {
    static char stack[65536];
    stack_t own = {};
    own.ss_sp = stack;
    own.ss_size = sizeof stack;
    sigaltstack(&own, nullptr);
}

void comes_back(int) {
    say("handler\n");
}
void leaves(int) {
    say("handler\n");
    _exit(7);
}
void raises_again(int number) {
    say("handler\n");
    signal(number, SIG_DFL);
    raise(number);
}
void jumps(int number) {
    siglongjmp(back, number);
}
void crashes(int) {
    null();
}
/* As crash reporters do: writes its dump, puts back what was there, and lets it happen again. */
void reports(int number, siginfo_t *info, void *context) {
    sink = static_cast<int>(static_cast<ucontext_t *>(context)->uc_mcontext.gregs[REG_RIP]);
    say("dump\n");
    sigaction(number, &behind, nullptr);
    if (info->si_code <= 0 || number == SIGABRT) syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), number);
}

void jump_out(void (*crash)()) {
    for (int i = 0; i < 5; i++) {
        int number = sigsetjmp(back, 1);
        if (number == 0) crash();
        printf("jumped %d\n", number);
    }
}

void stays_pending() {
    sigset_t before, now;
    int number = 0;
    sigprocmask(SIG_BLOCK, nullptr, &before);
    block_all();
    raise(SIGSEGV);
    kill(getpid(), SIGFPE);
    sigpending(&now);
    printf("pending %d %d\n", sigismember(&now, SIGSEGV), sigismember(&now, SIGFPE));
    sigprocmask(SIG_BLOCK, nullptr, &now);
    printf("blocked %d %d\n", sigismember(&now, SIGSEGV), sigismember(&now, SIGFPE));
    sigemptyset(&now);
    sigaddset(&now, SIGFPE);
    sigwait(&now, &number);
    signal(SIGSEGV, comes_back);
    sigprocmask(SIG_SETMASK, &before, nullptr);
    printf("waited for %d\n", number);
}

struct way {
    const char *name;
    void (*die)();
};

const way ways[] = {
    {"null", null},
    {"wild", wild},
    {"overflow", overflow},
    {"twice", twice},
    {"damaged", damaged},
    {"divide", divide},
    {"illegal", illegal},
    {"truncated", truncated},
    {"pure", pure},
    {"raised", raised},
    {"promised", promised},
    {"terminated", terminated},
    {"aborted", aborted},
    {"asserted", asserted},
    {"killed", killed},
    {"exit", [] { exit(3); }},
    {"thread", [] { on_thread(null, 0); }},
    {"thread-overflow", [] { on_thread(overflow, 16384); }},
    {"thread-raised", [] { on_thread(raised, 65536); }},
    {"thread-exit", [] { on_thread([] { _exit(9); }, 0); }},
    {"thread-blocked", [] { on_thread(null_with_all_blocked, 0); }},
    {"child", [] { in_child(null); }},
    {"comes-back-once", [] { handle(SIGSEGV, at(comes_back), SA_RESETHAND), null(); }},
    {"comes-back-abort", [] { handle(SIGABRT, at(comes_back), 0), abort(); }},
    {"leaves", [] { handle(SIGSEGV, at(leaves), 0), null(); }},
    {"raises-again", [] { handle(SIGSEGV, at(raises_again), SA_NODEFER), null(); }},
    {"jumps", [] { handle(SIGSEGV, at(jumps), 0), jump_out(null); }},
    {"jumps-overflow", [] { alternate(), handle(SIGSEGV, at(jumps), SA_ONSTACK), jump_out(overflow); }},
    {"jumps-then", [] { handle(SIGSEGV, at(jumps), 0), jump_out(null), divide(); }},
    {"in-handler", [] { handle(SIGUSR1, at(crashes), 0), raise(SIGUSR1); }},
    {"reports", [] { alternate(), handle(SIGSEGV, at(reports), SA_SIGINFO | SA_ONSTACK), null(); }},
    {"reports-abort", [] { handle(SIGABRT, at(reports), SA_SIGINFO), abort(); }},
    {"blocked-handler", [] { handle(SIGSEGV, at(leaves), 0), null_with_all_blocked(); }},
    {"pending", stays_pending},
};

} // namespace
// NOLINTEND

int main(int count, char **words) {
    setvbuf(stdout, nullptr, _IONBF, 0);
    puts("begin");
    for (const way &one : ways)
        if (count > 1 && strcmp(one.name, words[1]) == 0) one.die();
    puts("end");
}
