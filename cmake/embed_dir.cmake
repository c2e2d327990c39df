# Embeds every file below DIR by embed.cmake, named by its path relative to DIR.
file(GLOB_RECURSE FILES RELATIVE ${DIR} ${DIR}/*)
execute_process(
  COMMAND ${CMAKE_COMMAND} -DOUT=${OUT} -DSYMBOL=${SYMBOL} "-DFILES=${FILES}" -P ${CMAKE_CURRENT_LIST_DIR}/embed.cmake
  WORKING_DIRECTORY ${DIR} COMMAND_ERROR_IS_FATAL ANY)
