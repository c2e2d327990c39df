# What is shipped: libsi.so and libsi.a (embedding), libsi-probe.so (preloaded by `si run`), si (command).
# si-dashboard is in Dashboard.cmake.
set(SI_MODULES si_runtime si_notify si_script si_embedded_lua si_report si_worker si_history si_symbol si_profile si_ring si_collectors)
set(SI_HIDDEN_ARCHIVES ${SI_STATIC_ARCHIVES} ${IBERTY})

# ---- libsi.so: exports si_* and nothing else; Lua, libuv, msgpack-c and lua-cjson inside, hidden ----
file(WRITE ${CMAKE_BINARY_DIR}/generated/empty.c "typedef int si__empty_translation_unit;\n")
file(WRITE ${CMAKE_BINARY_DIR}/generated/libsi.map "{ global: si_[a-z]*; local: *; };\n")
add_library(libsi SHARED ${CMAKE_BINARY_DIR}/generated/empty.c)
set_target_properties(libsi PROPERTIES OUTPUT_NAME si VERSION ${PROJECT_VERSION} SOVERSION 0
  LINK_DEPENDS ${CMAKE_BINARY_DIR}/generated/libsi.map)
target_link_libraries(libsi PRIVATE
  -Wl,--whole-archive ${SI_MODULES} -Wl,--no-whole-archive
  si_static_deps ${IBERTY} PkgConfig::CURL PkgConfig::ZSTD PkgConfig::DW PkgConfig::ELF PkgConfig::ZLIB)
target_link_options(libsi PRIVATE -Wl,--version-script=${CMAKE_BINARY_DIR}/generated/libsi.map -Wl,-z,now -Wl,-z,nodelete)
if(NOT SI_SANITIZE)
  target_link_options(libsi PRIVATE -Wl,-z,defs)
endif()
target_include_directories(libsi INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
add_library(si::si ALIAS libsi)

# ---- libsi.a: one object whose only global symbols are si_* ----
set(SI_STATIC_LIB ${CMAKE_BINARY_DIR}/lib/libsi.a)
set(module_files)
foreach(module ${SI_MODULES})
  list(APPEND module_files $<TARGET_FILE:${module}>)
endforeach()
add_custom_command(
  OUTPUT ${SI_STATIC_LIB}
  COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/lib
  COMMAND ${CMAKE_LINKER} -r -o ${CMAKE_BINARY_DIR}/generated/libsi_all.o --whole-archive ${module_files} $<TARGET_FILE:si_libc_data>
          --no-whole-archive --start-group ${SI_HIDDEN_ARCHIVES} --end-group
  COMMAND ${CMAKE_OBJCOPY} --wildcard --keep-global-symbol=si_[!_]* ${CMAKE_BINARY_DIR}/generated/libsi_all.o
  COMMAND ${CMAKE_COMMAND} -E rm -f ${SI_STATIC_LIB}
  COMMAND ${CMAKE_AR} rcs ${SI_STATIC_LIB} ${CMAKE_BINARY_DIR}/generated/libsi_all.o
  DEPENDS ${SI_MODULES} si_libc_data VERBATIM COMMENT "Linking C static library lib/libsi.a")
add_custom_target(si_static ALL DEPENDS ${SI_STATIC_LIB})

# ---- libsi-probe.so: libc only ----
file(GLOB SI_PRELOAD_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/collectors/preload.c ${CMAKE_SOURCE_DIR}/collectors/preload_*.c)
if(SI_PRELOAD_SOURCES)
  file(WRITE ${CMAKE_BINARY_DIR}/generated/probe.map "{ local: si_*; };\n")
  add_library(si_probe SHARED ${SI_PRELOAD_SOURCES})
  set_target_properties(si_probe PROPERTIES OUTPUT_NAME si-probe)
  target_link_libraries(si_probe PRIVATE -Wl,--whole-archive si_collectors -Wl,--no-whole-archive ${CMAKE_DL_LIBS})
  target_link_options(si_probe PRIVATE -Wl,-z,now -Wl,-z,nodelete -Wl,--exclude-libs,ALL)
  install(TARGETS si_probe LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/si)
endif()

# ---- si ----
file(GLOB SI_COMMAND_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/sidecar/*.c)
if(SI_COMMAND_SOURCES)
  add_executable(si ${SI_COMMAND_SOURCES})
  target_link_libraries(si PRIVATE si_runtime)
  target_compile_definitions(si PRIVATE SI_PROBE_INSTALLED="${CMAKE_INSTALL_FULL_LIBDIR}/si/libsi-probe.so")
  if(TARGET si_probe)
    add_dependencies(si si_probe)
  endif()
  install(TARGETS si RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

# ---- Install ----
install(TARGETS libsi EXPORT si-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${SI_STATIC_LIB} DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${CMAKE_SOURCE_DIR}/include/si/si.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/si)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/rules/ DESTINATION ${CMAKE_INSTALL_DATADIR}/si/rules FILES_MATCHING PATTERN "*.lua")
install(DIRECTORY ${CMAKE_SOURCE_DIR}/docs/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN "*.1")
file(RELATIVE_PATH SI_PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /) # so that an installed tree can be moved
configure_file(${CMAKE_SOURCE_DIR}/cmake/si.pc.in ${CMAKE_BINARY_DIR}/generated/si.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/generated/si.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
include(CMakePackageConfigHelpers)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/generated/siConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(EXPORT si-targets NAMESPACE si:: FILE siTargets.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/si)
install(FILES ${CMAKE_SOURCE_DIR}/cmake/siConfig.cmake ${CMAKE_BINARY_DIR}/generated/siConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/si)
set_target_properties(libsi PROPERTIES EXPORT_NAME si)
