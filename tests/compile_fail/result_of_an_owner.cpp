// SPDX-License-Identifier: MIT
// case: a result cannot contain an owner
// says: result<T> carries handles and numbers: T must be trivially copyable
#include <virtio/base/result.hpp>

struct handle {
#if defined(FAIL)
  ~handle() { *counter = 0; }
#endif
  int* counter = nullptr;
};

bool good(const virtio::result<handle>& one) { return one.has_value(); }
