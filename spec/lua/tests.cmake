# The specs of the rule files and of the language, run by Debian's busted under Lua 5.4 on the product's engine.
find_program(BUSTED busted REQUIRED)
find_program(LUA54 lua5.4 REQUIRED)
add_test(NAME lua_specs COMMAND ${BUSTED} --lua=${LUA54} --output=plainTerminal --cpath=${CMAKE_BINARY_DIR}/lua/?.so
  WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(lua_specs PROPERTIES TIMEOUT 300 LABELS lua)
