# rules/*.lua and lua/si/*.lua become one C file, so that the library works with no file beside it.
file(GLOB SI_EMBEDDED_LUA CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/rules/*.lua ${CMAKE_SOURCE_DIR}/lua/si/*.lua)
set(SI_EMBEDDED_C ${CMAKE_BINARY_DIR}/generated/embedded_lua.c)
add_custom_command(
  OUTPUT ${SI_EMBEDDED_C}
  COMMAND ${CMAKE_COMMAND} -DOUT=${SI_EMBEDDED_C} -DSYMBOL=si__embedded_lua "-DFILES=${SI_EMBEDDED_LUA}" -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
  WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
  DEPENDS ${SI_EMBEDDED_LUA} ${CMAKE_SOURCE_DIR}/cmake/embed.cmake VERBATIM)
add_library(si_embedded_lua STATIC ${SI_EMBEDDED_C})
target_link_libraries(si_script PUBLIC si_embedded_lua)
