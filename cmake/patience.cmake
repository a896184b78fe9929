# SPDX-License-Identifier: MIT
# ctest's limits, in seconds. They are above the tests' own (tools/guestrun.py), which report the missing event; both
# only end hangs. VIRTIO_TEST_PATIENCE in the environment multiplies them, for slower machines.
set(patience "$ENV{VIRTIO_TEST_PATIENCE}")
if(patience STREQUAL "")
  set(patience 1)
endif()
math(EXPR VIRTIO_TEST_LIMIT "1800 * ${patience}")
math(EXPR VIRTIO_TEST_LONG_LIMIT "7200 * ${patience}")  # of tests that boot, build or wait many times
