# Run at build time: writes HEADER with the commit that is being built, "-dirty" if tracked files differ from it, or
# "unknown" without git. The header is touched only when its text changes.
execute_process(COMMAND git describe --always --dirty --abbrev=12 --exclude=*
                WORKING_DIRECTORY ${SOURCE_DIR}
                OUTPUT_VARIABLE hash OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE result)
if(NOT result EQUAL 0 OR hash STREQUAL "")
  set(hash unknown)
endif()
set(text "#define MITH_GIT_HASH \"${hash}\"\n")
set(old "")
if(EXISTS ${HEADER})
  file(READ ${HEADER} old)
endif()
if(NOT text STREQUAL old)
  file(WRITE ${HEADER} "${text}")
endif()
