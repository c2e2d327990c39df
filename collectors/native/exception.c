/*
 * The exception in hand of a thread, by the Itanium C++ ABI (https://itanium-cxx-abi.github.io/cxx-abi/abi-eh.html) as
 * libstdc++ has it on 64-bit machines.
 */
#include "exception.h"

#include <dlfcn.h>
#include <string.h>

enum { EXCEPTION_BYTES = 112, CLASS_OFFSET = 80, DO_CATCH = 4, WHAT = 2, CLASS_DEPENDENT = 1 };

typedef struct type_info { /* std::type_info */
    void *const *virtuals;
    const char *name;
} type_info;

typedef struct globals { /* __cxa_eh_globals */
    char *caught;        /* __cxa_exception, the last one that a handler, or std::terminate, has begun */
} globals;

typedef void (*terminate_fn)(void);

static const type_info *(*current_type)(void);
static globals *(*eh_globals)(void);
static const type_info *exception_type; /* of std::exception */
static terminate_fn terminate_before;

/* What std::terminate was called about, of this thread: libstdc++'s own handler lets go of the exception before it
   calls abort. */
static __thread struct {
    uint32_t length;
    char text[240];
} noted __attribute__((tls_model("initial-exec")));

static uint32_t describe(char *out, uint32_t out_bytes);

static void note_and_terminate(void) {
    noted.length = describe(noted.text, sizeof noted.text);
    terminate_before();
}

void si__exception_find(void) {
    void *type = dlsym(RTLD_DEFAULT, "__cxa_current_exception_type");
    void *get = dlsym(RTLD_DEFAULT, "__cxa_get_globals");
    /* Only libstdc++ has this virtual function; another library's tables look different. */
    if (!type || !get || !dlsym(RTLD_DEFAULT, "_ZNKSt9type_info10__do_catchEPKS_PPvj")) return;
    void *set = dlsym(RTLD_DEFAULT, "_ZSt13set_terminatePFvvE");
    exception_type = dlsym(RTLD_DEFAULT, "_ZTISt9exception");
    memcpy(&eh_globals, &get, sizeof get);
    memcpy(&current_type, &type, sizeof type);
    if (!set || terminate_before) return;
    terminate_fn (*set_terminate)(terminate_fn);
    memcpy(&set_terminate, &set, sizeof set);
    terminate_before = set_terminate(note_and_terminate);
}

/* The object that was thrown. An exception that was thrown again through an exception_ptr names it first. */
static void *thrown_object(void) {
    char *caught = eh_globals()->caught;
    if (!caught) return NULL;
    if (caught[CLASS_OFFSET] != CLASS_DEPENDENT) return caught + EXCEPTION_BYTES;
    void *object;
    memcpy(&object, caught, sizeof object);
    return object;
}

static const char *what_of(const type_info *type) {
    typedef char (*do_catch_fn)(const type_info *, const type_info *, void **, unsigned);
    typedef const char *(*what_fn)(const void *);
    void *object = exception_type ? thrown_object() : NULL;
    if (!object) return NULL;
    do_catch_fn do_catch;
    memcpy(&do_catch, &exception_type->virtuals[DO_CATCH], sizeof do_catch);
    if (!do_catch(exception_type, type, &object, 1)) return NULL; /* not derived from it */
    void *const *virtuals = *(void *const *const *)object;
    what_fn what;
    memcpy(&what, &virtuals[WHAT], sizeof what);
    return what(object);
}

static uint32_t append(char *out, uint32_t used, uint32_t out_bytes, const char *text) {
    size_t length = strnlen(text, out_bytes - used);
    memcpy(out + used, text, length);
    return used + (uint32_t)length;
}

static uint32_t describe(char *out, uint32_t out_bytes) {
    const type_info *type = current_type ? current_type() : NULL;
    if (!type || !type->name) return 0;
    uint32_t used = append(out, 0, out_bytes, "uncaught ");
    used = append(out, used, out_bytes, type->name[0] == '*' ? type->name + 1 : type->name);
    const char *what = what_of(type);
    if (!what) return used;
    used = append(out, used, out_bytes, ": ");
    return append(out, used, out_bytes, what);
}

uint32_t si__exception_describe(char *out, uint32_t out_bytes) {
    if (!noted.length) return describe(out, out_bytes);
    uint32_t length = noted.length < out_bytes ? noted.length : out_bytes;
    memcpy(out, noted.text, length);
    return length;
}
