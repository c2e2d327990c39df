# examples/ and bench/: programs that use libsi as anybody would.
if(NOT TARGET libsi)
  return()
endif()
pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)

add_executable(minimal ${CMAKE_SOURCE_DIR}/examples/minimal.c)
target_link_libraries(minimal PRIVATE libsi m)

file(GLOB SI_SHOP_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/examples/shop/*.c)
add_executable(shop ${SI_SHOP_SOURCES})
target_link_libraries(shop PRIVATE libsi PkgConfig::MICROHTTPD PkgConfig::SQLITE PkgConfig::CURL Threads::Threads)
set_target_properties(minimal shop PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/examples)

# ---- lua/si_module.c: `require "si"`. The interpreter that loads it brings Lua, so only its headers are used ----
add_library(si_lua MODULE ${CMAKE_SOURCE_DIR}/lua/si_module.c)
target_include_directories(si_lua PRIVATE ${LUA_INCLUDE_DIRS})
target_link_libraries(si_lua PRIVATE libsi)
set_target_properties(si_lua PROPERTIES OUTPUT_NAME si PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/lua/5.4
  INSTALL_RPATH "$ORIGIN/../..")
install(TARGETS si_lua LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/lua/5.4)
