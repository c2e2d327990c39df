# One line per test of the C library: si_test(NAME_test c libraries...)
