# One line per test of the dashboard server: si_test(NAME_test server libraries...)
