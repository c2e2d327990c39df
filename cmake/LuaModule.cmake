# si/testing_core.so: the rule engine and history as a Lua module, for specs under busted (lua/si/testing.lua).
# Built from the product's sources, without liblua: the interpreter that loads it provides Lua's API. Never sanitized,
# since that interpreter is not. describe.c is left out: it needs the whole report model.
file(GLOB SI_TESTING_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/runtime/history/*.c ${CMAKE_SOURCE_DIR}/runtime/script/*.c)
list(FILTER SI_TESTING_SOURCES EXCLUDE REGEX "/describe\\.c$")
foreach(name alert json json_writer utf8)
  list(APPEND SI_TESTING_SOURCES ${CMAKE_SOURCE_DIR}/runtime/report/${name}.c)
endforeach()
list(APPEND SI_TESTING_SOURCES ${CMAKE_SOURCE_DIR}/runtime/error_map.c ${CMAKE_SOURCE_DIR}/runtime/profile/sketch.c)
add_library(si_lua_testing MODULE ${CMAKE_SOURCE_DIR}/runtime/script/testing/module.c ${SI_TESTING_SOURCES} ${SI_EMBEDDED_C})
target_include_directories(si_lua_testing PRIVATE ${LUA_INCLUDE_DIRS})
target_compile_options(si_lua_testing PRIVATE -fno-sanitize=all)
target_link_options(si_lua_testing PRIVATE -fno-sanitize=all)
target_link_libraries(si_lua_testing PRIVATE m)
add_dependencies(si_lua_testing si_embedded_lua) # one writer of the generated file
set_target_properties(si_lua_testing PROPERTIES PREFIX "" OUTPUT_NAME testing_core LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lua/si)
install(TARGETS si_lua_testing LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/lua/5.4/si COMPONENT testing)
install(FILES ${CMAKE_SOURCE_DIR}/lua/si/testing.lua DESTINATION ${CMAKE_INSTALL_DATADIR}/lua/5.4/si COMPONENT testing)
