# The specs of the rule files and of the language, run by Debian's busted under Lua 5.4 on the product's engine.
find_program(BUSTED busted REQUIRED)
find_program(LUA54 lua5.4 REQUIRED)
add_test(NAME lua_specs COMMAND ${BUSTED} --lua=${LUA54} --output=plainTerminal
  WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(lua_specs PROPERTIES TIMEOUT 300 LABELS lua
  ENVIRONMENT "LUA_CPATH=${CMAKE_BINARY_DIR}/lua/?.so\;\;") # not --cpath: Debian's busted loses the quotes of a path with spaces
