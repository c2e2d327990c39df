# One line per test of the C library: si_test(NAME_test c libraries...)
set(SI_WRAP_MALLOC -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc) # lets a test fail the Nth allocation
si_test(calltree_test c si_profile ${SI_WRAP_MALLOC})
si_test(sketch_test c si_profile m ${SI_WRAP_MALLOC})
si_test(report_test c si_report)
set(SI_WRAP_ALLOC -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup) # for spec/c/alloc_fail.h
si_test(report_hostile_test c si_report ${SI_WRAP_ALLOC})
si_test(unwind_stack_test c si_collectors PkgConfig::LUA PkgConfig::CURL sqlite3 dl m)
target_sources(unwind_stack_test PRIVATE ${CMAKE_CURRENT_LIST_DIR}/unwind_workload.c ${CMAKE_CURRENT_LIST_DIR}/unwind_workload_cxx.cc)
si_test(stack_test c si_profile ${SI_WRAP_MALLOC})
