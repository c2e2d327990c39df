# One line per test of the dashboard server: si_test(NAME_test server libraries...)
add_library(si_server_spec STATIC server/dashboard.c server/made_report.c) # a real server process, people, agents, reports
target_compile_options(si_server_spec PRIVATE -Wno-conversion)
target_compile_definitions(si_server_spec PRIVATE SI_BINARY_DIR="${CMAKE_BINARY_DIR}")
target_link_libraries(si_server_spec PUBLIC si_dashboard si_report PkgConfig::CURL m)
add_dependencies(si_server_spec si-dashboard)
si_test(ingest_test server si_server_spec PkgConfig::SQLITE PkgConfig::SODIUM)
si_test(query_test server si_server_spec)
si_test(incident_test server si_server_spec microhttpd)
si_test(account_test server si_server_spec)
si_test(store_test server si_server_spec)
if(TARGET dashboard_bench) # bench/dashboard_bench.c: what a dashboard costs, measured with the same server, people and reports
  target_compile_options(dashboard_bench PRIVATE -Wno-conversion)
  target_link_libraries(dashboard_bench PRIVATE si_server_spec)
endif()
if(NOT SI_SANITIZE) # compiles programs without sanitizers
  si_test(end_to_end_test server si_server_spec)
  add_dependencies(end_to_end_test si si_probe libsi)
endif()
