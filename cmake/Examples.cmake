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
target_link_libraries(shop PRIVATE libsi PkgConfig::MICROHTTPD PkgConfig::SQLITE PkgConfig::CURL PkgConfig::LUA Threads::Threads)
target_compile_definitions(shop PRIVATE SHOP_LETTER="${CMAKE_SOURCE_DIR}/examples/shop/letter.lua") # without it: letters without Lua
set_target_properties(minimal shop PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/examples)

# ---- bench/: built on demand (./dev bench NAME); the report sink is the Lua module's test too ----
add_executable(report_sink ${CMAKE_SOURCE_DIR}/bench/report_sink.c)
target_link_libraries(report_sink PRIVATE si_report PkgConfig::MICROHTTPD)
add_executable(cpu_bench EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/cpu_bench.c)
target_link_libraries(cpu_bench PRIVATE m)
set(SI_BENCH_PROGRAMS report_sink cpu_bench)

find_library(GPERFTOOLS_PROFILER profiler)
set_source_files_properties(${CMAKE_SOURCE_DIR}/bench/workload.c PROPERTIES COMPILE_OPTIONS -fomit-frame-pointer)
foreach(sampler none si gperftools)
  if(sampler STREQUAL "gperftools" AND NOT GPERFTOOLS_PROFILER)
    continue()
  endif()
  set(worker cpu_worker_${sampler})
  add_executable(${worker} EXCLUDE_FROM_ALL
    ${CMAKE_SOURCE_DIR}/bench/cpu_worker.c ${CMAKE_SOURCE_DIR}/bench/cpu_${sampler}.c ${CMAKE_SOURCE_DIR}/bench/workload.c)
  target_compile_options(${worker} PRIVATE -O2)
  target_compile_definitions(${worker} PRIVATE SI_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  add_dependencies(cpu_bench ${worker})
  list(APPEND SI_BENCH_PROGRAMS ${worker})
endforeach()
# The sampler's counters are read where it keeps them: linked with its modules instead of libsi.
target_link_libraries(cpu_worker_si PRIVATE si_runtime)
if(TARGET cpu_worker_gperftools)
  target_link_libraries(cpu_worker_gperftools PRIVATE -Wl,--no-as-needed ${GPERFTOOLS_PROFILER})
endif()
# Any other bench/NAME_bench.c is a program of one file that may call every module.
file(GLOB SI_BENCH_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/*_bench.c)
list(REMOVE_ITEM SI_BENCH_SOURCES ${CMAKE_SOURCE_DIR}/bench/cpu_bench.c)
foreach(source ${SI_BENCH_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} EXCLUDE_FROM_ALL ${source})
  target_link_libraries(${name} PRIVATE si_runtime gcc_s m)
  list(APPEND SI_BENCH_PROGRAMS ${name})
endforeach()
add_dependencies(heap_bench si si_probe) # it runs itself under `si run`
add_dependencies(accuracy_bench si si_probe)
target_sources(accuracy_bench PRIVATE ${CMAKE_SOURCE_DIR}/bench/accuracy_program.c ${CMAKE_SOURCE_DIR}/bench/accuracy_files.c
  ${CMAKE_SOURCE_DIR}/bench/accuracy_embedded.c)
set_target_properties(${SI_BENCH_PROGRAMS} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)

# ---- lua/si_module.c: `require "si"`. The interpreter that loads it brings Lua, so only its headers are used ----
add_library(si_lua MODULE ${CMAKE_SOURCE_DIR}/lua/si_module.c)
target_include_directories(si_lua PRIVATE ${LUA_INCLUDE_DIRS})
target_link_libraries(si_lua PRIVATE libsi)
set_target_properties(si_lua PROPERTIES OUTPUT_NAME si PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/lua/5.4
  INSTALL_RPATH "$ORIGIN/../..")
install(TARGETS si_lua LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/lua/5.4)
