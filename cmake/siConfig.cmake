include("${CMAKE_CURRENT_LIST_DIR}/siTargets.cmake")
