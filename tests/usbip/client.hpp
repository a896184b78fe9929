// SPDX-License-Identifier: MIT
// A client that behaves like Linux's. It reports everything for which vhci_hcd or usbip would end the connection, and
// violations of the protocol that they accept. It shares no constants or helpers with the library, so that both cannot
// have the same mistake.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "wire.hpp"

class client {
 public:
  using bytes = std::vector<std::uint8_t>;
  struct done {
    std::int32_t status = 0;
    std::uint32_t actual = 0;
    bytes data;
    bool unlinked = false;  // ended by a RET_UNLINK, without an answer
  };
  struct interface {
    std::uint8_t cls, sub, protocol;
  };
  struct device {
    std::string path, busid;
    std::uint32_t busnum = 0, devnum = 0, speed = 0;
    std::uint16_t vendor = 0, product = 0, release = 0;
    std::array<std::uint8_t, 6> rest{};  // class, subclass, protocol, configuration, configurations, interfaces
    std::vector<interface> interfaces;
  };

  explicit client(wire& w) : wire_{w} {}

  /// All violations, for `CHECK(objections().empty())`.
  [[nodiscard]] const std::vector<std::string>& objections() const { return objections_; }

  // The operation phase

  void ask_list() { send({0x01, 0x11, 0x80, 0x05, 0, 0, 0, 0}); }
  void ask_import(const std::string& busid) {
    bytes message{0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0};
    message.insert(message.end(), busid.begin(), busid.end());
    message.resize(40);
    send(message);
  }
  /// The content of the list, empty if it is incomplete.
  std::vector<device> take_list() {
    bytes& in = wire_.to_peer;
    if (in.size() < 12) return report("a list without a head"), std::vector<device>{};
    if (be(in, 0, 4) != 0x01110005 || be(in, 4, 4) != 0) report("the head of a list is wrong");
    const std::uint32_t count = be(in, 8, 4);
    in.erase(in.begin(), in.begin() + 12);
    std::vector<device> all;
    for (std::uint32_t n = 0; n < count; ++n) {
      device one = take_record();
      for (unsigned i = 0; i < one.rest[5]; ++i) {
        if (in.size() < 4) return report("a list that is cut off"), all;
        if (in[3] != 0) report("the pad of an interface record is not 0");
        one.interfaces.push_back({in[0], in[1], in[2]});
        in.erase(in.begin(), in.begin() + 4);
      }
      all.push_back(one);
    }
    return all;
  }
  /// The status of an answer to an import; with 0, the record must be the one of `busid`.
  std::uint32_t take_import(const std::string& busid) {
    bytes& in = wire_.to_peer;
    if (in.size() < 8) return report("no answer to an import"), 0xffffffffu;
    if (be(in, 0, 4) != 0x01110003) report("the head of an answer to an import is wrong");
    const std::uint32_t status = be(in, 4, 4);
    in.erase(in.begin(), in.begin() + 8);
    if (status != 0) {
      if (!in.empty()) report("bytes after a refusal");
      return status;
    }
    device_ = take_record();
    if (device_.busid != busid) report("the record has another busid");
    if (!in.empty()) report("bytes after an answer to an import");
    return status;
  }
  [[nodiscard]] const device& imported() const { return device_; }

  // URBs

  std::uint32_t submit_in(std::uint32_t endpoint, std::uint32_t length, const bytes& setup = {},
                          std::uint32_t flags = 0x200) {
    return submit(1, endpoint, length, {}, setup, flags);
  }
  std::uint32_t submit_out(std::uint32_t endpoint, const bytes& data, const bytes& setup = {}) {
    return submit(0, endpoint, static_cast<std::uint32_t>(data.size()), data, setup, 0);
  }
  std::uint32_t unlink(std::uint32_t target) {
    const std::uint32_t seqnum = ++seqnum_;
    bytes message(48);
    put(message, 0, 2);
    put(message, 4, seqnum);
    put(message, 8, devid);
    put(message, 0x14, target);
    send(message);
    unlinks_[seqnum] = target;
    return seqnum;
  }
  static bytes setup(std::uint8_t type, std::uint8_t request, unsigned value, unsigned index, unsigned length) {
    const auto low = [](unsigned v) { return static_cast<std::uint8_t>(v); };
    const auto high = [](unsigned v) { return static_cast<std::uint8_t>(v >> 8); };
    return {type, request, low(value), high(value), low(index), high(index), low(length), high(length)};
  }
  std::uint32_t control_in(std::uint8_t type, std::uint8_t request, unsigned value, unsigned index, unsigned length) {
    return submit_in(0, length, setup(type, request, value, index, length));
  }
  std::uint32_t control_out(std::uint8_t type, std::uint8_t request, unsigned value, unsigned index,
                            const bytes& data = {}) {
    return submit_out(0, data, setup(type, request, value, index, static_cast<unsigned>(data.size())));
  }
  void send(const bytes& message) { wire_.to_engine.insert(wire_.to_engine.end(), message.begin(), message.end()); }

  /// Processes the complete answers.
  void take_answers() {
    bytes& in = wire_.to_peer;
    while (in.size() >= 48) {
      const std::uint32_t command = be(in, 0, 4), seqnum = be(in, 4, 4);
      for (std::size_t at = 8; at < 20; ++at) {
        if (in[at] != 0) report("devid, direction or endpoint of an answer is not 0");
      }
      std::size_t data = 0;
      if (command == 3) {
        const auto found = submits_.find(seqnum);
        if (found == submits_.end()) return report("RET_SUBMIT for an unknown seqnum");
        const std::uint32_t actual = be(in, 0x18, 4);
        if (actual > found->second.length) return report("more than was asked for");
        if (be(in, 0x20, 4) != 0 || be(in, 0x1c, 4) != 0 || be(in, 0x24, 4) != 0)
          report("a frame, packets or errors where there are none");
        data = found->second.in ? actual : 0;
        if (in.size() < 48 + data) return;
        const bytes came(in.begin() + 48, in.begin() + 48 + static_cast<std::ptrdiff_t>(data));
        answers[seqnum] = {static_cast<std::int32_t>(be(in, 0x14, 4)), actual, came, false};
        order.push_back(seqnum);
        submits_.erase(found);
      } else if (command == 4) {
        const auto found = unlinks_.find(seqnum);
        if (found == unlinks_.end()) return report("RET_UNLINK for an unknown seqnum");
        const auto status = static_cast<std::int32_t>(be(in, 0x14, 4));
        const auto target = submits_.find(found->second);
        if (status == -104) {
          if (target == submits_.end()) report("canceled, but answered before");
          else submits_.erase(target);
          answers[found->second] = {-104, 0, {}, true};
        } else if (status != 0) {
          report("a RET_UNLINK with a status that is neither 0 nor -104");
        } else if (target != submits_.end()) {
          report("a RET_UNLINK with 0 while there is no RET_SUBMIT");
        }
        answers[seqnum] = {status, 0, {}, false};
        order.push_back(seqnum);
        unlinks_.erase(found);
      } else {
        return report("an unknown command");
      }
      for (std::size_t at = command == 4 ? 0x18 : 0x28; at < 48; ++at) {
        if (in[at] != 0) report("padding is not 0");
      }
      in.erase(in.begin(), in.begin() + 48 + static_cast<std::ptrdiff_t>(data));
    }
  }
  [[nodiscard]] bool has(std::uint32_t seqnum) const { return answers.count(seqnum) != 0; }
  [[nodiscard]] std::size_t outstanding() const { return submits_.size(); }
  /// The number of the last message.
  [[nodiscard]] std::uint32_t last() const { return seqnum_; }

  std::map<std::uint32_t, done> answers;
  std::vector<std::uint32_t> order;
  std::uint32_t devid = 0x10001;

  static std::uint32_t be(const bytes& from, std::size_t at, std::size_t count) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < count; ++i) value = value << 8 | from[at + i];
    return value;
  }
  static void put(bytes& to, std::size_t at, std::uint32_t value) {
    for (std::size_t i = 0; i < 4; ++i) to[at + i] = static_cast<std::uint8_t>(value >> (24 - 8 * i));
  }

 private:
  struct asked {
    bool in;
    std::uint32_t length;
  };

  std::uint32_t submit(std::uint32_t way, std::uint32_t endpoint, std::uint32_t length, const bytes& data,
                       const bytes& setup, std::uint32_t flags) {
    const std::uint32_t seqnum = ++seqnum_;
    bytes message(48);
    put(message, 0, 1);
    put(message, 4, seqnum);
    put(message, 8, devid);
    put(message, 12, way);
    put(message, 16, endpoint);
    put(message, 0x14, flags);
    put(message, 0x18, length);
    for (std::size_t i = 0; i < setup.size(); ++i) message[0x28 + i] = setup[i];
    message.insert(message.end(), data.begin(), data.end());
    send(message);
    submits_[seqnum] = {way == 1, length};
    return seqnum;
  }
  device take_record() {
    bytes& in = wire_.to_peer;
    device one;
    if (in.size() < 312) return report("a record that is cut off"), one;
    one.path = text(0, 256);
    one.busid = text(256, 32);
    one.busnum = be(in, 288, 4);
    one.devnum = be(in, 292, 4);
    one.speed = be(in, 296, 4);
    one.vendor = static_cast<std::uint16_t>(be(in, 300, 2));
    one.product = static_cast<std::uint16_t>(be(in, 302, 2));
    one.release = static_cast<std::uint16_t>(be(in, 304, 2));
    for (std::size_t i = 0; i < 6; ++i) one.rest[i] = in[306 + i];
    in.erase(in.begin(), in.begin() + 312);
    return one;
  }
  std::string text(std::size_t at, std::size_t size) {
    const std::string whole(wire_.to_peer.begin() + static_cast<std::ptrdiff_t>(at),
                            wire_.to_peer.begin() + static_cast<std::ptrdiff_t>(at + size));
    const std::size_t end = whole.find('\0');
    if (end == std::string::npos) return report("a text without an end"), whole;
    if (whole.find_first_not_of('\0', end) != std::string::npos) report("a text's field is not padded with zeros");
    return whole.substr(0, end);
  }
  void report(const char* what) { objections_.emplace_back(what); }

  wire& wire_;
  device device_;
  std::map<std::uint32_t, asked> submits_;
  std::map<std::uint32_t, std::uint32_t> unlinks_;
  std::vector<std::string> objections_;
  std::uint32_t seqnum_ = 0;
};
