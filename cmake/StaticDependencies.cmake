# Debian's static archives of Lua and libuv are built for executables: they reach a few of libc's data objects
# directly, which a shared library may not do. We rename those references to copies of ours (runtime/libc_data.c)
# and drop libuv's destructor, which could abort a forked child of the host.
set(SI_DEPS_DIR ${CMAKE_BINARY_DIR}/deps)
file(MAKE_DIRECTORY ${SI_DEPS_DIR})
add_library(si_static_deps INTERFACE)
set(SI_STATIC_ARCHIVES)
foreach(entry "lua5.4-cjson:liblua5.4-cjson.a" "lua5.4:liblua5.4.a" "uv:libuv_a.a" "msgpackc:libmsgpackc.a")
  string(REPLACE ":" ";" pair ${entry})
  list(GET pair 1 archive)
  find_file(SI_ARCHIVE_${archive} ${archive} PATHS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE} /usr/lib /usr/local/lib NO_DEFAULT_PATH REQUIRED)
  set(out ${SI_DEPS_DIR}/${archive})
  if(NOT EXISTS ${out} OR ${SI_ARCHIVE_${archive}} IS_NEWER_THAN ${out})
    execute_process(COMMAND ${CMAKE_OBJCOPY}
      --redefine-sym stdin=si__libc_stdin --redefine-sym stdout=si__libc_stdout --redefine-sym stderr=si__libc_stderr
      --redefine-sym environ=si__libc_environ --redefine-sym in6addr_any=si__libc_in6addr_any
      --remove-section .fini_array --remove-section .rela.fini_array
      ${SI_ARCHIVE_${archive}} ${out} COMMAND_ERROR_IS_FATAL ANY)
  endif()
  list(APPEND SI_STATIC_ARCHIVES ${out})
endforeach()
add_library(si_libc_data STATIC ${CMAKE_SOURCE_DIR}/cmake/libc_data.c)
target_include_directories(si_static_deps INTERFACE ${LUA_INCLUDE_DIRS})
target_link_libraries(si_static_deps INTERFACE ${SI_STATIC_ARCHIVES} si_libc_data m ${CMAKE_DL_LIBS} Threads::Threads)
