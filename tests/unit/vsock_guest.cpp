// SPDX-License-Identifier: MIT
// The script of guests that run against vhost-device-vsock (tests/vsock/test_guest.py) and the kernel
// (tests/nested/vsock.py) prints the same against the model.
#include <catch2/catch_test_macros.hpp>

#include "../vsock/hosted/hosted.hpp"

TEST_CASE(
    "vsock guest: its script prints the same against the model as against real hosts [VSOCK-01][VSOCK-05][VSOCK-06][VSOCK-07]",
    "[vsock]") {
  const std::string words =
      "hello,echo,sink,odd,tiny,trickle,slow,source,called,called_at_0,calls_unused_port,many,refused,cut_off,messages,sink_to_the_end,half";
  const hosted::outcome out = hosted::run_guest("cid=4 tiny=20000 run=" + words);
  std::string wanted = "cell: cid=4 tiny=20000 run=" + words + "\ncid 4\n";
  for (std::size_t at = 0; at < words.size();) {
    const std::size_t end = std::min(words.find(',', at), words.size());
    wanted += "ok " + words.substr(at, end - at) + "\n";
    at = end + 1;
  }
  CHECK(out.console == wanted);
  CHECK(out.status == 0);
  for (const auto& what : out.objections) FAIL_CHECK(what);
}
