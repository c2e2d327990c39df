# The Lua module `si` as a program uses it, and examples/app.lua. Not in sanitized builds: the interpreter is not sanitized.
# Paths are relative or in the environment: Debian's busted starts itself again through a shell, without quotes.
if(TARGET si_lua AND NOT SI_SANITIZE)
  add_test(NAME lua_module COMMAND ${BUSTED} --lua=${LUA54} --output=plainTerminal --config-file=spec/lua_module/busted.lua spec/lua_module
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(lua_module PROPERTIES TIMEOUT 300 LABELS lua
    ENVIRONMENT "SI_BINARY_DIR=${CMAKE_BINARY_DIR};LUA_CPATH=${CMAKE_BINARY_DIR}/lib/lua/5.4/?.so\;\;")
endif()
