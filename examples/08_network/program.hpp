// SPDX-License-Identifier: MIT
// The program, over either link: it gets an address, resolves a name, fetches a page and checks it, serves pages, and
// reports its progress. All code runs in callbacks of lwIP and in `turn`, which never waits.
#pragma once

#include <lwip/apps/fs.h>
#include <lwip/apps/http_client.h>
#include <lwip/apps/httpd.h>
#include <lwip/dhcp.h>
#include <lwip/dns.h>
#include <lwip/init.h>
#include <lwip/priv/tcp_priv.h>

#include "../demo/sha256.hpp"
#include "options.hpp"
#include "runtime.hpp"

extern "C" virtio::u32 sys_now();  // milliseconds

namespace network {

using boot::print;
using virtio::u32;
using virtio::u64;
using virtio::u8;
using virtio::usize;

enum status : int { all_well, no_device = 10, wrong_page, no_page, bad_option };

inline void print_address(const ip4_addr_t& a) {
  print(ip4_addr1(&a), ".", ip4_addr2(&a), ".", ip4_addr3(&a), ".", ip4_addr4(&a));
}

/// Fetches one page, with retries until it has arrived whole.
class fetcher {
 public:
  void begin(const options& asked) { asked_ = &asked; }
  [[nodiscard]] bool is_done() const { return state_ == done; }
  [[nodiscard]] status result() const { return result_; }

  /// `online`: the interface has an address.
  void turn(bool online) {
    switch (state_) {
      case idle:
        if (online && sys_now() - since_ >= pause_) resolve();
        return;
      case found: fetch(); return;
      case fetching:
        // If the peer is gone, the connection receives no data, and sends none that could fail.
        if (online && sys_now() - since_ >= asked_->stall * 1000) give_up("no byte has come for ", asked_->stall, " s");
        return;
      case resolving:
      case done: return;
    }
  }
  /// Restarts the time limit of a stalled transfer: the link is up again.
  void link_is_up() { since_ = sys_now(); }

 private:
  static constexpr u32 unknown = 0xffffffff;
  enum step : u8 { idle, resolving, found, fetching, done };

  void resolve() {
    state_ = resolving;
    const err_t e = dns_gethostbyname(
        asked_->host, &address_,
        [](const char*, const ip_addr_t* at, void* self) { static_cast<fetcher*>(self)->resolved(at); }, this);
    if (e == ERR_OK) resolved(&address_);
    else if (e != ERR_INPROGRESS) resolved(nullptr);
  }
  void resolved(const ip_addr_t* at) {
    if (at == nullptr) return again("the name server knows no ", asked_->host, ", or does not answer");
    state_ = found;
    if (ip4_addr_t number; ip4addr_aton(asked_->host, &number) != 0) return;
    print("DNS: ", asked_->host, " is ");
    print_address(*at);
    print("\n");
  }
  void fetch() {
    print("HTTP: fetching ", asked_->url, "\n");
    state_ = fetching;
    hash_ = {};
    received_ = shown_ = 0;
    step_ = 1 << 20;
    since_ = sys_now();
    settings_.result_fn = [](void* self, httpc_result_t how, u32_t, u32_t code, err_t why) {
      static_cast<fetcher*>(self)->end(how, code, why);
    };
    settings_.headers_done_fn = [](httpc_state_t*, void* self, pbuf*, u16_t, u32_t length) {
      auto& fetch = *static_cast<fetcher*>(self);
      fetch.length_ = length;
      if (length != unknown && length > 20u << 20) fetch.step_ = length / 10 >> 20 << 20;  // ten lines, or one per MiB
      return err_t{ERR_OK};
    };
    const err_t e = httpc_get_file_dns(
        asked_->host, asked_->port, asked_->path, &settings_,
        [](void* self, tcp_pcb* pcb, pbuf* p, err_t) {
          static_cast<fetcher*>(self)->take(pcb, p);
          return err_t{ERR_OK};
        },
        this, &request_);
    if (e != ERR_OK) again("no connection, lwIP's error ", int{e});
  }
  void take(tcp_pcb* pcb, pbuf* p) {
    since_ = sys_now();
    for (const pbuf* q = p; q != nullptr; q = q->next) {
      const auto* const data = static_cast<const u8*>(q->payload);
      if (asked_->is_hashed) hash_.update(data, q->len);
      if (asked_->shows) boot::put(boot::text{static_cast<const char*>(q->payload), q->len});
    }
    received_ += p->tot_len;
    tcp_recved(pcb, p->tot_len);
    pbuf_free(p);
    for (; received_ - shown_ >= step_; shown_ += step_) progress();
  }
  void progress() const {
    print("  ", (shown_ + step_) >> 20, " MiB");
    if (length_ != unknown) print(" of ", length_ >> 20);
    print("\n");
  }
  void end(httpc_result_t how, u32 code, err_t why) {
    request_ = nullptr;
    if (how == HTTPC_RESULT_OK && code == 200) return check();
    if (how == HTTPC_RESULT_OK || how == HTTPC_RESULT_ERR_SVR_RESP) {
      print("HTTP: the server answers ", code, "\n");
      state_ = done;
      result_ = no_page;
      return;
    }
    if (how == HTTPC_RESULT_ERR_CONTENT_LEN) return again("the connection ended after ", received_, " bytes");
    if (received_ == 0 && why == ERR_RST) return again("the connection was refused or reset");
    again("the connection was lost after ", received_, " bytes");
  }
  void check() {
    state_ = done;
    print("HTTP: fetched ", received_, " bytes");
    if (asked_->is_hashed) {
      const sha256::digest_type digest = hash_.digest();
      print(", SHA-256 ");
      for (const u8 byte : digest.bytes) print("0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]);
      const bool is_right = asked_->is_sum(digest);
      if (asked_->sum) print(is_right ? ", as expected" : ", which is not what was expected");
      if (!is_right) result_ = wrong_page;
    }
    print("\n");
    if (asked_->has_length && asked_->length != received_) {
      print("HTTP: ", asked_->length, " bytes were expected\n");
      result_ = wrong_page;
    }
  }

  template <class... Why>
  void give_up(const Why&... why) {
    tcp_pcb* one = tcp_active_pcbs;
    while (one != nullptr && one->callback_arg != request_) one = one->next;
    print("HTTP: ", why..., "\n");
    if (one != nullptr) tcp_abort(one);  // ends in `end`
    else again("the connection is gone");
  }
  template <class... Why>
  void again(const Why&... why) {
    constexpr u32 after = 1000;  // milliseconds
    print("HTTP: ", why..., "; trying again\n");
    state_ = idle;
    since_ = sys_now();
    pause_ = after;
  }

  const options* asked_ = nullptr;
  step state_ = idle;
  status result_ = all_well;
  u32 since_ = 0;  // of the last byte, or attempt
  u32 pause_ = 0;  // until the next
  ip_addr_t address_{};
  httpc_connection_t settings_{};
  httpc_state_t* request_ = nullptr;
  sha256 hash_{};
  u64 received_ = 0, shown_ = 0, step_ = 0;
  u32 length_ = unknown;  // as the server reports it
};

/// The pages of lwIP's web server.
class pages {
 public:
  void begin(const options& asked, const netif& on) {
    asked_ = &asked;
    on_ = &on;
    u32 x = 1;  // a sequence that the test's client computes too
    for (u8& one : pattern_) {
      x = x * 1664525 + 1013904223;
      one = static_cast<u8>(x >> 24);
    }
    httpd_init();
  }
  [[nodiscard]] bool is_to_end() const { return is_to_end_; }

  bool open(fs_file& file, const char* name) {
    const boot::text path{name, __builtin_strlen(name)};
    file = {};
    file.is_custom_file = 1;
    file.flags = FS_FILE_FLAGS_HEADER_PERSISTENT;  // the answer contains the length
    if (path == "/data" || path == "/small") {
      file.len = static_cast<int>(path == "/data" ? asked_->data : LWIP_MIN(asked_->data, 100'000u));
    } else if (path == "/index.html" || path == "/end") {
      is_to_end_ = is_to_end_ || path == "/end";
      static char page[256];
      file.len = file.index = write_page(page, sizeof page);
      file.data = page;
    } else {
      return false;
    }
    print("HTTP: serving ", name, ", ", file.len, " bytes\n");
    return true;
  }
  int read(fs_file& file, char* to, int count) const {
    int done = 0;
    while (done < count && file.index < file.len) {
      const int at = file.index % int{sizeof pattern_};
      const int n = LWIP_MIN(LWIP_MIN(count - done, file.len - file.index), int{sizeof pattern_} - at);
      __builtin_memcpy(to + done, pattern_ + at, static_cast<usize>(n));
      done += n;
      file.index += n;
    }
    return done == 0 ? FS_READ_EOF : done;
  }

 private:
  int write_page(char* to, usize size) const {
    int n = 0;
    const auto put = [&](const char* s) {
      while (*s != '\0' && n + 1 < static_cast<int>(size)) to[n++] = *s++;
    };
    put("Hello from a guest without an operating system, at ");
    put(ip4addr_ntoa(netif_ip4_addr(on_)));
    put(", by way of ");
    put(asked_->way);
    put(".\n");
    return n;
  }

  const options* asked_ = nullptr;
  const netif* on_ = nullptr;
  bool is_to_end_ = false;
  u8 pattern_[65521]{};
};

inline constinit fetcher fetching{};
inline constinit pages serving{};

/// The whole program, on one interface.
class program {
 public:
  explicit constexpr program(const options& asked) : asked_{asked} {}

  void begin(netif& on) {
    on_ = &on;
    netif_set_link_callback(on_, [](netif* n) {
      const bool is_up = netif_is_link_up(n);
      print(is_up ? "link: up\n" : "link: down\n");
      if (is_up) fetching.link_is_up();
    });
    netif_set_status_callback(on_, [](netif* n) {
      if (!ip4_addr_isany_val(*netif_ip4_addr(n))) print_addresses(*n);
    });
    print("link: ", asked_.way, ", ", netif_is_link_up(on_) ? "up" : "down", "\n");
    fetching.begin(asked_);
    serving.begin(asked_, on);
    since_ = sys_now();
    if (dhcp_start(on_) != ERR_OK) print("DHCP: lwIP has no memory\n");
    else print("DHCP: asking for an address\n");
  }
  /// Makes one step. Returns false at the end.
  [[nodiscard]] bool turn() {
    const bool online = netif_is_link_up(on_) && !ip4_addr_isany_val(*netif_ip4_addr(on_));
    if (online) since_ = sys_now();
    else if (sys_now() - since_ >= asked_.stall * 1000) complain();
    if (asked_.dns_port != 0) dns_setserver(0, &asked_.dns), lwip_port_dns_port = asked_.dns_port;
    if (asked_.url) {
      fetching.turn(online);
      if (fetching.is_done() && (fetching.result() != all_well || !asked_.serves)) return false;
    }
    if (online && !said_ && (!asked_.url || fetching.is_done())) print_serving();
    return !serving.is_to_end() || is_sending();
  }
  [[nodiscard]] status result() const { return fetching.result(); }

 private:
  static void print_addresses(const netif& n) {
    print("DHCP: address ");
    print_address(*netif_ip4_addr(&n));
    print(", gateway ");
    print_address(*netif_ip4_gw(&n));
    print(", name server ");
    print_address(*dns_getserver(0));
    print("\n");
  }
  void print_serving() {
    said_ = true;
    print("HTTP: serving at http://");
    print_address(*netif_ip4_addr(on_));
    print("/ until a client fetches /end\n");
  }
  void complain() {
    since_ = sys_now();
    if (!netif_is_link_up(on_)) print("link: still down\n");
    else print("DHCP: no answer yet; trying again\n");
  }
  /// Returns whether the last answer is being sent.
  static bool is_sending() {
    for (const tcp_pcb* one = tcp_active_pcbs; one != nullptr; one = one->next)
      if (one->state != TIME_WAIT && (one->unsent != nullptr || one->unacked != nullptr)) return true;
    return false;
  }

  const options& asked_;
  netif* on_ = nullptr;
  u32 since_ = 0;  // of the last moment with an address, or the last message
  bool said_ = false;
};

}  // namespace network

extern "C" {
int fs_open_custom(fs_file* file, const char* name) { return network::serving.open(*file, name); }
void fs_close_custom(fs_file*) {}
int fs_read_custom(fs_file* file, char* to, int count) { return network::serving.read(*file, to, count); }
}
