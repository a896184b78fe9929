// SPDX-License-Identifier: MIT
// guest.cpp against the model, whose host plays the services of peer.c.
#include "hosted.hpp"

#include <algorithm>
#include <cstdio>
#include <map>

#include <virtio/testing/vsock_model.hpp>

#include "../guest.cpp"

namespace hosted {
namespace {

using model_type = virtio::testing::vsock_model;
using flow = virtio::testing::vsock_flow;
using ended = model_type::connection::state;

struct peers {
  struct state {
    std::size_t seen = 0, messages = 0;  // received so far
    bool counted = false, answered = false;
    std::uint64_t count = 0, summed = 0, sum = 0xcbf29ce484222325;
    flow other{};
    bool calls = false;
    std::size_t passed = 0;
  };
  model_type& model;
  std::map<flow, state> all{};
  std::uint32_t next_port = 1u << 30;

  static std::vector<std::uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

  // A number and a line feed at the front, if they have arrived.
  static bool number(const std::vector<std::uint8_t>& bytes, state& s) {
    if (s.counted) return true;
    const auto end = std::find(bytes.begin(), bytes.end(), '\n');
    if (end == bytes.end()) return false;
    s.count = std::stoull(std::string(bytes.begin(), end));
    s.seen = static_cast<std::size_t>(end - bytes.begin()) + 1;
    return s.counted = true;
  }
  void sum(model_type::connection& c, state& s) {
    for (; s.seen < c.bytes.size(); ++s.seen, ++s.summed) s.sum = (s.sum ^ c.bytes[s.seen]) * 0x100000001b3;
  }
  void answer(const flow& f, state& s) {
    if (s.answered) return;
    s.answered = true;
    char line[64];
    std::snprintf(line, sizeof line, "%llu %016llx\n", static_cast<unsigned long long>(s.summed),
                  static_cast<unsigned long long>(s.sum));
    model.send(f, bytes_of(line));
    model.close(f);
  }

  void serve(const flow& f, state& s) {
    model_type::connection& c = model.peer(f);
    const std::vector<std::uint8_t>& in = c.bytes;
    switch (f.host_port) {
      case cell::echo:
        if (s.seen < in.size()) model.send(f, {in.begin() + static_cast<std::ptrdiff_t>(s.seen), in.end()});
        s.seen = in.size();
        break;
      case cell::counted_slow:
        c.reads = false;
        (void)model.read(f, 4096);
        [[fallthrough]];
      case cell::counted_sink:
        if (!number(in, s)) break;
        sum(c, s);
        if (s.summed == s.count) answer(f, s);
        break;
      case cell::sink:
        sum(c, s);
        if ((c.guest_ends & model_type::no_send) != 0) answer(f, s);
        break;
      case cell::source:
        if (!number(in, s) || s.answered) break;
        s.answered = true;
        for (std::uint64_t at = 0; at < s.count; at += 65536) {
          std::vector<std::uint8_t> part(static_cast<std::size_t>(std::min<std::uint64_t>(65536, s.count - at)));
          for (std::size_t i = 0; i < part.size(); ++i)
            part[i] = static_cast<std::uint8_t>((at + i) * 131 + ((at + i) >> 8));
          model.send(f, std::move(part));
        }
        model.close(f);
        break;
      case cell::open_caller: call(f, s); break;
      case cell::abrupt:
        if (in.size() >= 4096) model.abort(f);
        break;
      case cell::half:
        if (s.answered) break;
        s.answered = true;
        model.send(f, bytes_of("first half\n"));
        model.shut(f, model_type::no_send);
        break;
      case cell::messages:
        for (; s.messages < c.messages.size(); ++s.messages)
          model.send_message(f, c.messages[s.messages].bytes, c.messages[s.messages].record_ends);
        break;
      default: break;
    }
  }

  void call(const flow& f, state& s) {
    if (!number(model.peer(f).bytes, s) || s.answered) return;
    if (!s.calls) {
      s.calls = true;
      s.other = model.connect(static_cast<std::uint32_t>(s.count), next_port++);
      model.send(s.other, bytes_of("hello from the host\n"));
      return;
    }
    model_type::connection* const there = model.find(s.other);
    if (there == nullptr || there->now == ended::asked) return;
    if (s.passed < there->bytes.size())
      model.send(f, {there->bytes.begin() + static_cast<std::ptrdiff_t>(s.passed), there->bytes.end()});
    s.passed = there->bytes.size();
    if (there->now == ended::open && there->guest_ends == 0) return;
    if (s.passed == 0) model.send(f, bytes_of("refused\n"));
    s.answered = true;
    model.close(f);
  }

  void turn() {
    (void)model.step();
    for (const flow& f : model.open_flows()) serve(f, all[f]);
  }
};

peers* playing = nullptr;

}  // namespace

outcome run_guest(const std::string& words) {
  virtio::testing::strict_machine memory;
  virtio::testing::fake_pci bus;
  virtio::testing::vsock_options options;
  options.cid = 4;
  options.host = virtio::testing::vsock_host::kernel();
  model_type model{memory.memory, options};
  bus.qemu_modern({0, 0, 4, 0}, model);
  model.recording = false;
  for (const std::uint32_t port : {7000u, 7001u, 7002u, 7004u, 7006u, 7010u, 7011u, 7013u, 7015u})
    model.ports[port] = model_type::reception::accepts;
  peers all{model};
  playing = &all;
  boot::here = {" " + words, {}, 0, &memory, &bus, [] { playing->turn(); }};

  outcome out{0, {}, {}};
  try {
    out.status = guest_main(words.c_str());
  } catch (const boot::ended& end) {
    out.status = end.status;
  }
  out.console = boot::here.console;
  for (const auto& what : memory.violations()) out.objections.push_back(what);
  for (const auto& what : bus.violations()) out.objections.push_back(what);
  return out;
}

}  // namespace hosted
