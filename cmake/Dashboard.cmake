# si-dashboard: everything but main.c as a library, for its tests too; the web page embedded.
pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)

option(SI_DASHBOARD_SELF "Let si-dashboard profile itself with the embedded runtime" ON)

# ---- The page: dashboard/web bundled by node, then turned into C arrays ----
set(SI_WEB_DIR ${CMAKE_BINARY_DIR}/web)
set(SI_WEB_C ${CMAKE_BINARY_DIR}/generated/embedded_web.c)
if(SI_WEB)
  find_program(SI_NODE node REQUIRED)
  find_program(SI_NPM npm REQUIRED)
  set(web ${CMAKE_SOURCE_DIR}/dashboard/web)
  file(GLOB_RECURSE SI_WEB_SOURCES CONFIGURE_DEPENDS ${web}/src/*)
  add_custom_command(
    OUTPUT ${web}/node_modules/.package-lock.json
    COMMAND ${SI_NPM} ci --no-audit --no-fund --loglevel=error
    WORKING_DIRECTORY ${web} DEPENDS ${web}/package-lock.json VERBATIM COMMENT "Installing the page's build tools")
  add_custom_command(
    OUTPUT ${SI_WEB_C}
    COMMAND ${SI_NODE} ${web}/build.mjs --out ${SI_WEB_DIR}
    COMMAND ${CMAKE_COMMAND} -DDIR=${SI_WEB_DIR} -DOUT=${SI_WEB_C} -DSYMBOL=si__embedded_web -P ${CMAKE_SOURCE_DIR}/cmake/embed_dir.cmake
    WORKING_DIRECTORY ${web}
    DEPENDS ${SI_WEB_SOURCES} ${web}/build.mjs ${web}/package.json ${web}/node_modules/.package-lock.json
            ${CMAKE_SOURCE_DIR}/cmake/embed.cmake ${CMAKE_SOURCE_DIR}/cmake/embed_dir.cmake
    VERBATIM COMMENT "Bundling the dashboard's page")
else()
  file(WRITE ${CMAKE_BINARY_DIR}/web-off/index.html "<!doctype html><title>si-dashboard</title><p>This si-dashboard was built without its page; the API is under /api/v1.\n")
  add_custom_command(
    OUTPUT ${SI_WEB_C}
    COMMAND ${CMAKE_COMMAND} -DDIR=${CMAKE_BINARY_DIR}/web-off -DOUT=${SI_WEB_C} -DSYMBOL=si__embedded_web -P ${CMAKE_SOURCE_DIR}/cmake/embed_dir.cmake
    DEPENDS ${CMAKE_SOURCE_DIR}/cmake/embed.cmake ${CMAKE_SOURCE_DIR}/cmake/embed_dir.cmake VERBATIM)
endif()

# ---- The API's description ----
set(SI_OPENAPI_C ${CMAKE_BINARY_DIR}/generated/embedded_openapi.c)
add_custom_command(
  OUTPUT ${SI_OPENAPI_C}
  COMMAND ${CMAKE_COMMAND} -DOUT=${SI_OPENAPI_C} -DSYMBOL=si__embedded_openapi -DFILES=openapi.json -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
  WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}/docs
  DEPENDS ${CMAKE_SOURCE_DIR}/docs/openapi.json ${CMAKE_SOURCE_DIR}/cmake/embed.cmake VERBATIM)

# ---- The server ----
file(GLOB SI_DASHBOARD_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/dashboard/server/*.c)
list(REMOVE_ITEM SI_DASHBOARD_SOURCES ${CMAKE_SOURCE_DIR}/dashboard/server/main.c ${CMAKE_SOURCE_DIR}/dashboard/server/self.c)
add_library(si_dashboard STATIC ${SI_DASHBOARD_SOURCES} ${SI_WEB_C} ${SI_OPENAPI_C})
target_link_libraries(si_dashboard PUBLIC si_runtime si_script si_notify si_report si_history si_profile
  PkgConfig::MICROHTTPD PkgConfig::SQLITE PkgConfig::SODIUM PkgConfig::ZSTD PkgConfig::ZLIB)

add_executable(si-dashboard dashboard/server/main.c dashboard/server/self.c)
target_link_libraries(si-dashboard PRIVATE si_dashboard)
if(SI_DASHBOARD_SELF)
  target_compile_definitions(si-dashboard PRIVATE SI_WITH_RUNTIME=1)
endif()
install(TARGETS si-dashboard RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
