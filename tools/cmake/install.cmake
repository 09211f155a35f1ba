# What `cmake --install build/PRESET --prefix PREFIX` gives: headers, static library, CMake package, pkg-config file.
# HYP_PC_LIBS: what pkg-config says beside the library itself.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set_target_properties(hyperion_core PROPERTIES OUTPUT_NAME hyperion EXPORT_NAME hyperion)
target_include_directories(hyperion_core INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
install(TARGETS hyperion_core EXPORT HyperionTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY src/hyperion/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/hyperion
    FILES_MATCHING PATTERN "*.h" PATTERN "*.def")
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/Hyperion)
install(EXPORT HyperionTargets NAMESPACE Hyperion:: DESTINATION ${PACKAGE_DIR})
configure_package_config_file(tools/cmake/HyperionConfig.cmake.in ${CMAKE_BINARY_DIR}/HyperionConfig.cmake
    INSTALL_DESTINATION ${PACKAGE_DIR})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/HyperionConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/HyperionConfig.cmake ${CMAKE_BINARY_DIR}/HyperionConfigVersion.cmake
    DESTINATION ${PACKAGE_DIR})

# The prefix is found from where the file lies, so that an installed tree can be moved.
set(PC_DIR ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH PREFIX_FROM_PC /prefix/${PC_DIR} /prefix)
string(REGEX REPLACE "/$" "" PREFIX_FROM_PC ${PREFIX_FROM_PC})
configure_file(tools/cmake/hyperion.pc.in ${CMAKE_BINARY_DIR}/hyperion.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/hyperion.pc DESTINATION ${PC_DIR})
