/* Readable names: C++, clones, versions, and names made to hurt a demangler. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../runtime/symbol/demangle.h"

static char out[SI__NAME_MAX];

static void check(const char *symbol, const char *wanted) {
    size_t length = si__demangle(symbol, out);
    assert_string_equal(out, wanted);
    assert_int_equal(length, strlen(wanted));
}

static void cxx_names(void **state) {
    (void)state;
    check("_Z3addii", "add(int, int)");
    check("_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector<int, std::allocator<int> >::push_back(int&&)");
    check("_ZZ4mainENKUlvE_clEv", "main::{lambda()#1}::operator()() const");
    check("_ZN3FooC4Ev", "Foo::Foo()");
    check("_ZTV3Foo", "vtable for Foo");
    check("_ZNSt6vectorIiSaIiEE12emplace_backIJiEEERiDpOT_",
          "int& std::vector<int, std::allocator<int> >::emplace_back<int>(int&&)");
    check("_ZNSt6thread11_State_implINS_8_InvokerISt5tupleIJPFvvEEEEEE6_M_runEv",
          "std::thread::_State_impl<std::thread::_Invoker<std::tuple<void (*)()> > >::_M_run()");
    /* An unresolved name (sr) inside, as clang writes them. */
    check("_ZSt14__relocate_a_1IccENSt9enable_ifIXsr3std24__is_bitwise_relocatableIT_EE5valueEPS1_E4typeES2_S2_S2_"
          "RSaIT0_E",
          "std::enable_if<std::__is_bitwise_relocatable<char>::value, char*>::type std::__relocate_a_1<char, "
          "char>(char*, char*, char*, std::allocator<char>&)");
}

static void clones_and_versions(void **state) {
    (void)state;
    check("foo", "foo");
    check("foo.constprop.0", "foo");
    check("foo.isra.0.cold", "foo");
    check("foo.part.0.isra.12.constprop.3", "foo");
    check("foo.cold", "foo");
    check("foo.lto_priv.7", "foo");
    check("foo.llvm.1234567890", "foo");
    check("memcpy@@GLIBC_2.14", "memcpy");
    check("memcpy@GLIBC_2.2.5", "memcpy");
    check("_Z3addii.constprop.0", "add(int, int)");
    check("main.worker", "main.worker"); /* other languages have dots in names */
    check("nested.12", "nested.12");
    check(".cold", ".cold");
    check(".", ".");
    check("@", "@");
    check("", "");
    check("_Z", "_Z");
    check("_Zgarbage", "_Zgarbage");
}

static const char *substitution(int k) {
    static char text[2][8];
    static int turn;
    char *t = text[turn ^= 1];
    if (k == 0) return "S_";
    k--;
    snprintf(t, sizeof text[0], k < 36 ? "S%c_" : "S1%c_", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[k % 36]);
    return t;
}

/* Types that double `levels` times, inside a pack expansion: a naive walk takes 2^levels steps. */
static void doubling(char *name, const char *prefix, int levels) {
    char *p = name + sprintf(name, "_Z1f%s1bI1aIiiE", prefix);
    for (int i = 0; i < levels; i++) p += sprintf(p, "S0_I%s%sE", substitution(2 + i), substitution(2 + i));
    strcpy(p, "E");
}

static void names_that_explode_stay_small(void **state) {
    (void)state;
    char name[4096];
    doubling(name, "Dp", 3);
    si__demangle(name, out);
    assert_int_equal(strncmp(out, "f((b<a<int, int>, a<a<int, int>", 31), 0);
    for (int levels = 20; levels < 60; levels += 13) { /* 2^59 steps if walked */
        doubling(name, "Dp", levels);
        assert_in_range(si__demangle(name, out), 1, SI__NAME_MAX - 1);
        doubling(name, "Xsr1xIT_E1yEDp", levels);
        assert_in_range(si__demangle(name, out), 1, SI__NAME_MAX - 1);
        doubling(name, "", levels);
        assert_in_range(si__demangle(name, out), 1, SI__NAME_MAX - 1);
    }
}

static void long_and_deep_names(void **state) {
    (void)state;
    enum { LONG = 100000 };
    char *name = malloc(LONG + 1);
    static const char *const patterns[] = {"P", "N", "I",  "F",  "A1_", "Z",  "X",  "DT",   "Dp", "cv",
                                           "L", "J", "RK", "T_", "S_",  "Ss", "1a", "\x80", "\n"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        for (size_t length = 500; length <= LONG; length = length * 3 + 100) {
            strcpy(name, "_Z1f");
            for (size_t at = 4; at < length; at += strlen(patterns[i])) strcpy(name + at, patterns[i]);
            size_t n = si__demangle(name, out);
            assert_in_range(n, 1, SI__NAME_MAX - 1);
            assert_int_equal(strlen(out), n);
        }
    }
    free(name);
}

static void a_long_name_is_cut_in_the_output_only(void **state) {
    (void)state;
    char name[2048], *p = name + sprintf(name, "_Z1fv");
    assert_int_equal(si__demangle(name, out), 3);
    p = name + sprintf(name, "_Z1f"); /* f(type 900 times): 1804 bytes mangled */
    for (int i = 0; i < 900; i++) p += sprintf(p, "Ss");
    size_t n = si__demangle(name, out);
    assert_true(n > 2000);
    assert_int_equal(strncmp(out, "f(std::string, std::string", 26), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cxx_names),
        cmocka_unit_test(clones_and_versions),
        cmocka_unit_test(names_that_explode_stay_small),
        cmocka_unit_test(long_and_deep_names),
        cmocka_unit_test(a_long_name_is_cut_in_the_output_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
