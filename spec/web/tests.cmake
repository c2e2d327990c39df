# Browser tests: the pages over made-up data, then over the real server with reports from the agent's own encoder.
add_executable(made_reports web/made_reports.c)
target_link_libraries(made_reports PRIVATE si_report si_profile)
set_target_properties(made_reports PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/spec)
if(SI_WEB)
  add_test(NAME web_test COMMAND ${SI_NODE} ${CMAKE_SOURCE_DIR}/spec/web/run.mjs WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(web_test PROPERTIES TIMEOUT 900 LABELS web ENVIRONMENT "SI_BIN_DIR=${CMAKE_BINARY_DIR}/bin;SI_SPEC_DIR=${CMAKE_BINARY_DIR}/spec")
endif()
