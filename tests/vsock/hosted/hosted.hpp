// SPDX-License-Identifier: MIT
// The script of guest.cpp without a guest.
#pragma once

#include <string>
#include <vector>

namespace hosted {

struct outcome {
  int status;
  std::string console;
  std::vector<std::string> objections;  // of the model, the platform and the bus
};

/// Runs the script with these words, against the model and peers that act as those of peer.c.
[[nodiscard]] outcome run_guest(const std::string& words);

}  // namespace hosted
