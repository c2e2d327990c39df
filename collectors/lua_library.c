/*
 * The host's Lua library: its functions, and where its code lies. Asked on host threads that attach a state, under the
 * attach lock; what is learned is read by signal handlers and never changes or goes away.
 *
 * The parts of Lua that a stack is read by have no symbols in a stripped program. They are found by what is known of
 * them: liblua's objects lie in the order of its archive, the C API first and the auxiliary library last of the core;
 * and the interpreter's loop is by far the largest function in between. Function bounds come from .eh_frame_hdr.
 */
#include <dlfcn.h>
#include <link.h>
#include <string.h>

#include "lua_vm.h"

#define LOOP_BYTES_MIN 1024u

static lua_library libraries[LUA_LIBRARIES];
static _Atomic uint32_t library_count;

lua_library *si__lua_library_around(const void *pc) {
    uint32_t count = atomic_load_explicit(&library_count, memory_order_acquire);
    if (count == 1) return libraries;
    for (uint32_t i = 0; i < count; i++)
        if (lua_in(libraries[i].core, (uint64_t)(uintptr_t)pc)) return libraries + i;
    return NULL;
}

const lua_library *si__lua_library_known(const si_lua_functions *functions) {
    uint32_t count = atomic_load_explicit(&library_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++)
        if ((void (*)(void))libraries[i].lua_sethook == functions->lua_sethook &&
            (void (*)(void))libraries[i].lua_resume == functions->lua_resume)
            return libraries + i;
    return NULL;
}

int si__lua_find(si_lua_functions *out, const char **missing) {
    memset(out, 0, sizeof *out);
    out->size = sizeof *out;
    out->debug_bytes = sizeof(lua_Debug);
#define X(name)                                                                                                        \
    *missing = #name;                                                                                                  \
    out->name = (void (*)(void))(uintptr_t)dlsym(RTLD_DEFAULT, #name);                                                 \
    if (!out->name) return -1;
    SI_LUA_FUNCTIONS(X)
#undef X
    return 0;
}

/* ---- Where functions begin ---- */

typedef struct table_search {
    uint64_t pc;
    lua_library *library;
} table_search;

/* .eh_frame_hdr as linkers write it: version 1, a 4-byte count, and 4-byte offsets from the header, sorted. */
static int read_table(struct dl_phdr_info *info, size_t bytes, void *arg) {
    table_search *search = arg;
    const unsigned char *header = NULL;
    int holds = 0;
    (void)bytes;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uint64_t from = info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && search->pc >= from && search->pc < from + part->p_memsz) holds = 1;
        if (part->p_type == PT_GNU_EH_FRAME) header = (const void *)(uintptr_t)from;
    }
    if (!holds || !header) return holds;
    if (header[0] != 1 || (header[1] & 0x0f) != 0x0b || header[2] != 0x03 || header[3] != 0x3b) return 1;
    uint32_t count;
    memcpy(&count, header + 8, 4);
    search->library->table = (const int32_t *)(const void *)(header + 12);
    search->library->table_count = count;
    search->library->table_base = (uint64_t)(uintptr_t)header;
    return 1;
}

static uint64_t start_of(const lua_library *library, size_t index) {
    return library->table_base + (uint64_t)(int64_t)library->table[2 * index];
}

/* The last function that begins at or before pc; SIZE_MAX: none. */
static size_t index_of(const lua_library *library, uint64_t pc) {
    size_t low = 0, high = library->table_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (start_of(library, middle) <= pc)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? SIZE_MAX : low - 1;
}

lua_code si__lua_function_at(const lua_library *library, uint64_t pc) {
    size_t index = index_of(library, pc);
    if (index == SIZE_MAX || index + 1 >= library->table_count) return (lua_code){0, 0};
    return (lua_code){start_of(library, index), start_of(library, index + 1)};
}

static void find_loop(lua_library *library) {
    lua_code largest = {0, 0};
    for (uint64_t pc = library->core.from; pc < library->core.to;) {
        lua_code function = si__lua_function_at(library, pc);
        if (function.to <= pc) break;
        if (function.to - function.from > largest.to - largest.from) largest = function;
        pc = function.to;
    }
    library->vm = largest;
}

/* ---- Making one ---- */

static const char *locate(lua_library *library) {
    uint64_t from = UINT64_MAX, to = 0;
    table_search search = {(uint64_t)(uintptr_t)library->lua_sethook, library};
#define X(name, result, parameters)                                                                                    \
    from = (uint64_t)(uintptr_t)library->name < from ? (uint64_t)(uintptr_t)library->name : from;                      \
    to = (uint64_t)(uintptr_t)library->name > to ? (uint64_t)(uintptr_t)library->name : to;
    LUA_FUNCTIONS(X)
#undef X
    dl_iterate_phdr(read_table, &search);
    if (!library->table) return "the program's Lua has no table of functions (.eh_frame_hdr)";
    if (si__lua_function_at(library, to).to == 0 || si__lua_function_at(library, from).to == 0)
        return "the program's Lua has no unwind tables";
    library->core = (lua_code){from, si__lua_function_at(library, to).to};
    find_loop(library);
    if (library->vm.to - library->vm.from < LOOP_BYTES_MIN) return "the interpreter's loop was not found";
    library->resume = si__lua_function_at(library, (uint64_t)(uintptr_t)library->lua_resume);
    library->collect = si__lua_function_at(library, (uint64_t)(uintptr_t)library->lua_gc);
    return NULL;
}

lua_library *si__lua_library(const si_lua_functions *functions, const char **reason) {
    lua_library made;
    memset(&made, 0, sizeof made);
#define X(name, result, parameters) made.name = (result(*) parameters)(void (*)(void))functions->name;
    LUA_FUNCTIONS(X)
#undef X
    const lua_library *known = si__lua_library_known(functions);
    if (known) return libraries + (known - libraries);
    *reason = library_count == LUA_LIBRARIES ? "too many Lua libraries in one process" : locate(&made);
    if (*reason) return NULL;
    lua_library *library = &libraries[library_count];
    memcpy(library, &made, sizeof made);
    atomic_fetch_add_explicit(&library_count, 1, memory_order_release);
    return library;
}

/* ---- Where C functions are called from ---- */

static lua_library *learning; /* under the attach lock */

static int note_site(lua_State *L) {
    uint64_t site = (uint64_t)(uintptr_t)__builtin_return_address(0);
    uint32_t count = atomic_load_explicit(&learning->site_count, memory_order_relaxed);
    (void)L;
    for (uint32_t i = 0; i < count; i++)
        if (learning->sites[i] == site) return 0;
    if (count == LUA_SITES) return 0;
    learning->sites[count] = site;
    atomic_store_explicit(&learning->site_count, count + 1, memory_order_release);
    return 0;
}

/* Each kind of call, for a plain C function and for one with an upvalue. */
static const char calls[] = "local f, g, t = ...\n"
                            "local function tail(h) return h() end\n"
                            "f() g() tail(f) tail(g)\n"
                            "for _ in f do end for _ in g do end\n"
                            "local a = t.x local b = t.y t.x = 1 t() b = t + 1 b = t == {}\n";

static const char *read_calls(lua_State *L, void *arg, size_t *bytes) {
    const char **rest = arg, *text = *rest;
    (void)L;
    *rest = NULL;
    *bytes = text ? sizeof calls - 1 : 0;
    return text;
}

static void push_pair(lua_library *l, lua_State *L) {
    l->lua_pushcclosure(L, note_site, 0);
    l->lua_pushinteger(L, 0);
    l->lua_pushcclosure(L, note_site, 1);
}

void si__lua_learn_sites(lua_library *l, lua_State *L) {
    if (atomic_load_explicit(&l->site_count, memory_order_relaxed)) return;
    const char *text = calls;
    int top = l->lua_gettop(L), results = 0;
    learning = l;
    if (l->lua_load(L, read_calls, &text, "=si", "t") != LUA_OK) l->lua_error(L);
    push_pair(l, L);
    l->lua_createtable(L, 0, 0);
    l->lua_createtable(L, 0, 0);
    static const char *const events[] = {"__index", "__newindex", "__call", "__add", "__eq"};
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        l->lua_pushvalue(L, i % 2 ? -4 : -3);
        l->lua_setfield(L, -2, events[i]);
    }
    l->lua_setmetatable(L, -2);
    l->lua_callk(L, 3, 0, 0, NULL);
    push_pair(l, L);
    l->lua_callk(L, 0, 0, 0, NULL);
    l->lua_callk(L, 0, 0, 0, NULL);
    push_pair(l, L);
    for (int i = 0; i < 2; i++)
        if (l->lua_pcallk(L, 0, 0, 0, 0, NULL) != LUA_OK) l->lua_error(L);
    for (int i = 0; i < 2; i++) {
        lua_State *co = l->lua_newthread(L);
        push_pair(l, co);
        l->lua_settop(co, 1 + i);
        l->lua_resume(co, L, i, &results);
    }
    l->lua_settop(L, top);
}

int si__lua_is_site(const lua_library *library, uint64_t pc) {
    uint32_t count = atomic_load_explicit(&library->site_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++)
        if (library->sites[i] == pc) return 1;
    return 0;
}

/* Between the finalizer and the loop there is nothing but the collector: not collectgarbage, nor another C function
   that has made an object. */
void si__lua_find_step(lua_library *library, const uint64_t *frames, unsigned count) {
    unsigned calls_of_c = 0;
    for (unsigned i = 1; i < count && !library->step.to; i++) {
        calls_of_c += (unsigned)si__lua_is_site(library, frames[i]);
        if (!lua_in(library->vm, frames[i])) continue;
        lua_code function = si__lua_function_at(library, frames[i - 1]);
        if (calls_of_c == 1 && lua_in(library->core, frames[i - 1]) && function.to) {
            library->step.from = function.from;
            library->step.to = function.to; /* read by handlers: last */
        }
        return;
    }
}
