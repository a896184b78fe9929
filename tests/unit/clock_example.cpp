// SPDX-License-Identifier: MIT
// examples/10_clock on a model of vmd's control device: it follows the host's time, and obeys the host's requests.
#include <catch2/catch_test_macros.hpp>

#include <regex>
#include <sstream>

#include "../../examples/10_clock/main.cpp"

using virtio::testing::vmmci_model;
using state = vmmci_model::machine;

namespace {

struct guest {
  boot::world world{};
  int status = -1;
  std::vector<std::string> lines{};

  /// Runs it to its end, with events after given numbers of turns of a hundredth of a second.
  void run(const char* words = "") {
    boot::here = &world;
    boot::console.clear();
    status = guest_main(words);
    std::istringstream text{boot::console};
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    for (const auto& what : world.model.violations()) FAIL_CHECK(what);
  }
  [[nodiscard]] bool says(const std::string& words) const {
    for (const std::string& one : lines)
      if (one == words) return true;
    return false;
  }
  /// Differences of the guest's clock at each check, in microseconds.
  [[nodiscard]] std::vector<long> offsets() const {
    std::vector<long> all;
    const std::regex look{R"(.* UTC: ours was (\d+) us (?:behind|ahead))"};
    for (const std::string& one : lines)
      if (std::smatch found; std::regex_match(one, found, look)) all.push_back(std::stol(found[1]));
    return all;
  }
};

constexpr virtio::u64 in_2026 = 1'795'969'800'000'000;  // 2026-11-29 16:30:00

}  // namespace

TEST_CASE("clock: a guest sets its clock from the host's, keeps it synchronized, and obeys a shutdown",
          "[examples][vmmci]") {
  guest g;
  g.world.model.now = in_2026;
  g.world.on_turn = [](boot::world& w) {
    // From the second minute on the host's clock runs faster than the guest's counter by 0.01%, then slower by as much.
    if (w.turns == 6'000) w.turn = 10'001;
    if (w.turns == 24'000) w.turn = 9'999;
    if (w.turns == 60'000) w.model.ask(vmmci_model::shutdown);
  };
  g.run();
  INFO(boot::console);
  CHECK(g.status == 0);
  CHECK(g.world.model.state() == state::ends);
  REQUIRE(g.lines.size() > 30);
  CHECK(g.lines.front() == "set to 2026-11-29 16:30:00 UTC");
  CHECK(g.lines.back() == "the host asks for shutdown");
  const auto off = g.offsets();
  CHECK(off.size() > 30);
  for (const long one : off) CHECK(one < 3'500);  // 15 s of the difference, doubled when it turns
  CHECK(off.back() < 100);                        // none when the difference is known
}

TEST_CASE("clock: a guest ends in time for a reboot, and is not killed", "[examples][vmmci]") {
  guest g;
  g.world.on_turn = [](boot::world& w) {
    if (w.turns == 1'000) w.model.ask(vmmci_model::reboot);
  };
  g.run();
  CHECK(g.status == 0);
  CHECK(g.world.model.state() == state::ends);
  CHECK(g.lines.back() == "the host asks for reboot");
  CHECK(g.world.turns < 1'300);
}

TEST_CASE("clock: a guest sets its clock again after the host's was set forward or back, and continues",
          "[examples][vmmci]") {
  guest g;
  g.world.model.now = in_2026;
  g.world.on_turn = [](boot::world& w) {
    if (w.turns == 500) {
      w.model.now = 1'835'352'000'000'000;  // 2028-02-28 12:00:00
      CHECK(w.model.ask(vmmci_model::syncrtc));
    }
    if (w.turns == 1'000) {
      w.model.now = 951'825'599'000'000;  // 2000-02-29 11:59:59
      CHECK(w.model.ask(vmmci_model::syncrtc));
    }
    if (w.turns == 5'000) w.model.ask(vmmci_model::shutdown);
  };
  g.run();
  INFO(boot::console);
  CHECK(g.says("set to 2028-02-28 12:00:00 UTC"));
  CHECK(g.says("set to 2000-02-29 11:59:59 UTC"));
  for (const long one : g.offsets()) CHECK(one < 100);
  CHECK(g.offsets().size() >= 2);
  CHECK(g.status == 0);
}

TEST_CASE("clock: a guest requests power-off at the end of its run time", "[examples][vmmci]") {
  guest g;
  g.run("seconds=60");
  CHECK(g.status == 0);
  CHECK(g.world.model.state() == state::off);
  CHECK(g.lines.back() == "that was all: the host is asked to switch this machine off");
  CHECK(g.world.turns > 6'000);
  CHECK(g.world.turns < 6'300);
}

TEST_CASE("clock: a guest keeps its run time if the host's clock is set back", "[examples][vmmci]") {
  guest g;
  g.world.model.now = in_2026;
  g.world.on_turn = [](boot::world& w) {
    if (w.turns != 1'000) return;
    w.model.now -= 3'600 * vmmci_model::second;
    CHECK(w.model.ask(vmmci_model::syncrtc));
  };
  g.run("seconds=60");
  CHECK(g.world.model.state() == state::off);
  CHECK(g.world.turns > 6'000);
  CHECK(g.world.turns < 6'400);
}

TEST_CASE("clock: a guest's clock is right after any change during the measurement of its counter",
          "[examples][vmmci]") {
  guest g;
  g.world.model.now = in_2026;
  virtio::s64 step = 0;
  SECTION("a slow counter") { g.world.ticks_per_turn = 4'000'000; }
  SECTION("the host's clock is set back") { step = -3'600; }
  SECTION("the host's clock is set back by a little") { step = -1; }
  SECTION("the host's clock is set forward") { step = 3'600; }
  SECTION("the host's clock is set forward by a little") { step = 3; }
  g.world.on_turn = [step](boot::world& w) {
    if (w.turns == 5) w.model.now += static_cast<virtio::u64>(step * 1'000'000);
    if (w.turns == 10'000) w.model.ask(vmmci_model::shutdown);
  };
  g.run();
  INFO(boot::console);
  CHECK(g.status == 0);
  const auto off = g.offsets();
  REQUIRE(off.size() >= 3);
  CHECK(off[off.size() - 2] < 100);
  CHECK(off.back() < 100);
}

TEST_CASE("clock: a guest whose host's clock runs backwards reports that it has no time", "[examples][vmmci]") {
  guest g;
  g.world.model.now = in_2026;
  g.world.on_turn = [](boot::world& w) { w.model.now -= 20'000; };
  g.run();
  CHECK(g.status == 1);
  CHECK(g.lines == std::vector<std::string>{std::string{"clock: "} + describe(virtio::errc::device_misbehaved)});
}

TEST_CASE("clock: on another machine the guest reports that there is no control device", "[examples][vmmci]") {
  guest g;
  g.world.model.bridge_vendor = 0x8086;
  g.run();
  CHECK(g.status == 1);
  CHECK(g.lines == std::vector<std::string>{std::string{"no control device: "} + describe(virtio::errc::not_found)});
}

TEST_CASE("clock: the removal of the control device ends the guest with the reason", "[examples][vmmci]") {
  guest g;
  g.world.on_turn = [](boot::world& w) {
    if (w.turns == 3'000) w.model.present = false;
  };
  g.run();
  CHECK(g.status == 1);
  CHECK(g.lines.back() == std::string{"clock: "} + describe(virtio::errc::timed_out));
}
