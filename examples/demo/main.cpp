// SPDX-License-Identifier: MIT
// The demo's guest, started by tools/demo: it lists every PCI function or MMIO slot with its verdict, and starts the
// first disk, entropy source, balloon, socket device, console and network card of those that exist. It reads the whole
// disk with many requests in flight and prints its SHA-256. Clients that connect to its port receive its progress. The
// balloon stays empty. Command line: scratch=<sector> allows one write to the disk; stay=yes continues to answer until
// a client connects to another port. The guest receives no expected result from the host.
// Exit status: 0; 10 no disk, 11 a read failed, 12 the scratch sector, 13 entropy, 14 an invalid command line.
#include <virtio/balloon.hpp>
#include <virtio/blk.hpp>
#include <virtio/console.hpp>
#include <virtio/net.hpp>
#include <virtio/rng.hpp>
#include <virtio/version.hpp>
#include <virtio/vsock.hpp>

#include "board.hpp"
#include "sha256.hpp"

namespace {

using boot::print;
using virtio::u32, virtio::u64, virtio::u8, virtio::usize;

/// The usual board, with counters of the drivers' doorbells.
struct demo_board : board {
  static inline u64 doorbells = 0;
  void trace(virtio::event happened) const {
    if (happened.what == virtio::event::kind::doorbell) ++doorbells;
  }
};

using transport = bus::transport<demo_board>;
using place = bus::found<demo_board>;
using disk_t = virtio::blk::device<demo_board, transport, virtio::split_queue<256>>;
using rng_t = virtio::rng::device<demo_board, transport, virtio::split_queue<8>>;
// A legacy device sets the size of its rings: 128 entries on QEMU.
using balloon_t =
    virtio::balloon::device<demo_board, transport, virtio::split_queue<16, virtio::ring_options{.ring_entries = 128}>>;
using console_t =
    virtio::console::device<demo_board, transport, virtio::split_queue<16, virtio::ring_options{.ring_entries = 256}>>;
using card_t = virtio::net::device<demo_board, transport, virtio::split_queue<256>>;

constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma;
constinit disk_t disk;
constinit virtio::dma_storage<rng_t::dma_bytes> entropy_dma;
constinit rng_t entropy;
constinit virtio::dma_storage<balloon_t::dma_bytes> balloon_dma;
constinit balloon_t balloon;
constinit virtio::dma_storage<console_t::dma_bytes> console_dma;
constinit console_t console;
constinit virtio::dma_storage<card_t::dma_bytes> card_dma;
constinit card_t card;

namespace vsock = virtio::vsock;
using vsock_t = vsock::device<demo_board, transport, virtio::split_queue<64>, vsock::limits{.receive_buffer = 4096}>;
constinit virtio::dma_storage<vsock_t::dma_bytes> sockets_dma;
constinit vsock_t sockets;
constexpr u32 answering_port = 1234, ending_port = 1235;

enum status : int {
  all_well = 0,
  no_disk = 10,
  read_failed = 11,
  scratch_failed = 12,
  no_entropy = 13,
  bad_option = 14
};

// ---- words and columns ----

struct digits {  // hexadecimal, of fixed width
  u64 value;
  unsigned width;
};
void put(digits d) {
  while (d.width-- != 0) boot::put("0123456789abcdef"[d.value >> 4 * d.width & 15]);
}

struct column {  // decimal, right-aligned
  u64 value;
  unsigned width;
};
void put(column c) {
  unsigned used = 1;
  for (u64 rest = c.value; rest >= 10; rest /= 10) ++used;
  for (; used < c.width; ++used) boot::put(' ');
  boot::put(c.value);
}

struct mebibytes {
  u64 bytes;
};
void put(mebibytes m) { print(m.bytes >> 20, ".", (m.bytes >> 10 & 1023) * 10 / 1024, " MiB"); }

struct kind {
  virtio::device_type type;
};
void put(kind k) { boot::print_type(k.type); }

constexpr const char* detail = "\n                      ";  // the next line, below the verdict

void print_features(const virtio::feature_set& features, virtio::device_type type) {
  print(detail, "features:");
  for (u8 bit = 0; bit < 128; ++bit) {
    if (!features.has_bit(bit)) continue;
    print(" ");
    boot::print_feature(bit, type);
  }
}

/// The details of a report: which capability, BAR, feature or queue, by how much, and the remedy.
void print_detail(const virtio::report& seen) {
  boot::print_details(seen, detail);
  if (seen.error != virtio::errc::ok) print(detail, virtio::describe(seen.error));
}

// ---- discovery ----

/// Starts `driver` on the function unless the driver has another already, and prints the result.
template <class Driver, class... More>
void start(Driver& driver, const place& found, virtio::dma_region storage, const More&... more) {
  if (driver.why().why == virtio::verdict::bound) {
    print(kind{found.seen.type}, ", usable through ", virtio::name(found.seen.via), "; the demo has one already");
  } else if (driver.start(demo_board{}, found, storage, more...)) {
    print("bound as ", kind{driver.why().type}, " through ", virtio::name(driver.why().via));
    print_features(driver.features(), driver.why().type);
  } else {
    print(kind{found.seen.type}, ", not bound: ", virtio::describe(driver.why().why));
    print_detail(driver.why());
  }
}

/// Prints a location; on PCI with its ids.
template <class Found>
void print_place(const Found& one) {
  if constexpr (requires { one.slot; }) print("  slot ", column{one.slot, 2}, "             ");
  else
    print("  ", digits{one.id.bus, 2}, ":", digits{one.id.slot, 2}, ".", one.id.function, "  ",
          digits{one.who.vendor, 4}, ":", digits{one.who.device, 4}, "  ");
}

void visit(const place& found) {
  print_place(found);
  if (!boot::is_virtio(found.seen.why)) {
    print(virtio::describe(found.seen.why));
  } else if (found.seen.why != virtio::verdict::usable) {
    print(kind{found.seen.type}, ", not bound: ", virtio::describe(found.seen.why));
    print_detail(found.seen);
  } else if (found.seen.type == virtio::device_type::block) {
    start(disk, found, disk_dma);
  } else if (found.seen.type == virtio::device_type::entropy) {
    start(entropy, found, entropy_dma);
  } else if (found.seen.type == virtio::device_type::vsock) {
    start(sockets, found, sockets_dma, virtio::vsock::seed{boot::timestamp()});
  } else if (found.seen.type == virtio::device_type::balloon) {
    start(balloon, found, balloon_dma);
  } else if (found.seen.type == virtio::device_type::console) {
    start(console, found, console_dma);
  } else if (found.seen.type == virtio::device_type::network) {
    start(card, found, card_dma);
    if (card.why().why == virtio::verdict::bound) {
      print(detail, "address ");
      for (u8 i = 0; i < 6; ++i) print(i == 0 ? "" : ":", digits{card.mac().octets[i], 2});
      print(", MTU ", card.facts().mtu, ", link ", card.state() == virtio::net::link_state::up ? "up" : "down");
    }
  } else {
    print(kind{found.seen.type}, ", usable through ", virtio::name(found.seen.via), "; this demo has no driver for it");
  }
  print("\n");
}

template <class Driver>
void print_if_bound(const Driver& driver) {
  if (driver.why().why == virtio::verdict::bound) print(" ", virtio::name(driver.why().type));
}

void print_bound() {
  print("Bound:");
  print_if_bound(disk);
  print_if_bound(entropy);
  print_if_bound(balloon);
  print_if_bound(sockets);
  print_if_bound(console);
  print_if_bound(card);
  print("\n");
}

// ---- sockets ----

u64 bytes_read;  // of the disk
u32 visitors;
bool is_to_end;

struct note {  // a line for a visitor
  u8 data[160];
  usize size;
  void put(const char* text) {
    while (*text != '\0' && size < sizeof data) data[size++] = static_cast<u8>(*text++);
  }
  void put(u64 n) {
    if (n >= 10) put(n / 10);
    const char digit[] = {static_cast<char>('0' + n % 10), '\0'};
    put(digit);
  }
};

void listen() {
  if (sockets.why().why != virtio::verdict::bound) return;
  if (!sockets.listen(answering_port, 4) || !sockets.listen(ending_port, 1)) return;
  print("\nSockets: port ", answering_port, " of CID ", sockets.cid(), " answers connections\n");
}

void answer(vsock::socket visitor) {
  note line{};
  line.put("Hello from inside the guest, CID ");
  line.put(sockets.cid());
  line.put(": I have read ");
  line.put(bytes_read >> 20);
  line.put(" of my disk's ");
  line.put(disk.capacity() * virtio::blk::sector_bytes >> 20);
  line.put(" MiB, and you are visitor ");
  line.put(++visitors);
  line.put(".\n");
  (void)sockets.try_send(visitor, virtio::const_bytes{line.data, line.size});
  (void)sockets.close(visitor);  // after the line has arrived
}

/// Answers all clients that have connected. Never waits. Its doorbells are not counted: the number of clients varies.
void answer_visitors() {
  const u64 before = demo_board::doorbells;
  (void)sockets.poll([](const vsock::event& e) {
    if (e.what == vsock::ready::incoming && e.port == ending_port) is_to_end = true;
    else if (e.what == vsock::ready::incoming)
      while (const auto visitor = sockets.try_accept(e.port)) answer(*visitor);
  });
  demo_board::doorbells = before;
}

// ---- the use of the devices ----

/// Requests and doorbells of one piece of work.
struct cost {
  u64 requests = 0;
  u64 doorbells = 0;
};

void print_cost(const char* what, cost of) {
  print("  ", what, column{of.requests, 8}, of.requests == 1 ? " request  " : " requests ", column{of.doorbells, 8},
        of.doorbells == 1 ? " doorbell\n" : " doorbells\n");
}

int fail(status how, const char* what) {
  print("\nFAILED: ", what, "\n");
  return how;
}
int fail(status how, const char* what, virtio::errc why) {
  print("\nFAILED: ", what, ": ", virtio::describe(why), "\n");
  return how;
}

constexpr u32 depth = 16;  // requests in flight, each with its own buffer
constexpr u32 buffer_bytes = 128 * 1024;
alignas(4096) constinit u8 buffers[depth][buffer_bytes];
constinit bool ended[depth];

/// Reads and hashes the whole disk. Requests complete in any order; they are hashed in disk order.
int read_disk(sha256& hash, cost& spent) {
  constexpr u32 sector_bytes = virtio::blk::sector_bytes;
  const u64 total = disk.capacity() * sector_bytes;
  const u32 piece = buffer_bytes < disk.largest_request() ? buffer_bytes : disk.largest_request();
  const u64 pieces = (total + piece - 1) / piece;
  print("\nDisk: ", mebibytes{total}, " in ", disk.capacity(), " sectors, ",
        disk.is_read_only() ? "read-only" : "writable", "\n  reading, ", depth, " requests of ", piece / 1024,
        " KiB in flight:");

  const auto size_of = [&](u64 n) { return n + 1 < pieces ? piece : static_cast<u32>(total - n * piece); };
  u64 sent = 0, hashed = 0, tenths = 0;
  while (hashed < pieces) {
    // Refilled by halves: one doorbell announces eight requests while the device still has eight in progress.
    if (sent - hashed <= depth / 2) {
      for (; sent < pieces && sent - hashed < depth; ++sent) {
        const virtio::bytes buffer{buffers[sent % depth], size_of(sent)};
        const auto staged = disk.submit_read(sent * (piece / sector_bytes), buffer, sent);
        if (!staged && staged.error() == virtio::errc::queue_full && sent != hashed) break;  // a small queue
        if (!staged) return fail(read_failed, "asking the disk", staged.error());
      }
      disk.kick();
    }
    const auto one = disk.wait_next();
    answer_visitors();
    if (!one) return fail(read_failed, "waiting for the disk", one.error());
    if (one->status != virtio::errc::ok) {
      const u64 first = one->cookie * (piece / sector_bytes);
      print("\n  in sectors ", first, " to ", first + size_of(one->cookie) / sector_bytes - 1);
      return fail(read_failed, "reading", one->status);
    }
    ++spent.requests;
    ended[one->cookie % depth] = true;
    for (; ended[hashed % depth]; ++hashed) {
      ended[hashed % depth] = false;
      hash.update(buffers[hashed % depth], size_of(hashed));
      bytes_read += size_of(hashed);
      for (; tenths < (hashed + 1) * 10 / pieces; ++tenths) print(" ", (tenths + 1) * 10, "%");
    }
  }
  print("\n");
  return all_well;
}

/// Writes a note to the disk, which the host then reads from the image file.
int write_scratch(u64 sector, const sha256::digest_type& digest, cost& spent) {
  alignas(512) static u8 note[512];
  usize used = 0;
  for (const char c : "This sector was written by the virtio demo. The disk's SHA-256 before: ")
    if (c != '\0') note[used++] = static_cast<u8>(c);
  for (const u8 byte : digest.bytes) {
    note[used++] = static_cast<u8>("0123456789abcdef"[byte >> 4]);
    note[used++] = static_cast<u8>("0123456789abcdef"[byte & 15]);
  }
  note[used] = '\n';

  if (auto r = disk.write(sector, note); !r) return fail(scratch_failed, "writing the scratch sector", r.error());
  if (auto r = disk.flush(); !r) return fail(scratch_failed, "flushing the scratch sector", r.error());
  spent.requests += disk.has_write_cache() ? 2 : 1;
  print("  scratch sector ", sector, " written and flushed\n");
  return all_well;
}

using seed = u8[32];

/// `rng.fill()` step by step, to count its requests: a device may return fewer bytes than requested.
virtio::result<void> draw(seed& out, cost& spent) {
  const virtio::bytes whole{out};
  usize have = 0;
  for (u32 attempt = 0; have < whole.size(); ++attempt) {
    if (attempt == 64) return virtio::errc::io_error;
    const auto asked = entropy.submit(whole.part(have, whole.size()));
    if (!asked) return asked.error();
    ++spent.requests;
    const auto got = entropy.wait(*asked);  // kicks
    if (!got) return got.error();
    if (got->status != virtio::errc::ok) return got->status;
    have += got->length;
  }
  return {};
}

int draw_twice(cost& spent) {
  static seed draws[2];
  print("\nEntropy: 32 bytes, twice\n");
  for (seed& one : draws) {
    if (auto r = draw(one, spent); !r) return fail(no_entropy, "drawing entropy", r.error());
    print("  ");
    for (const u8 byte : one) print(digits{byte, 2});
    print("\n");
  }
  if (__builtin_memcmp(draws[0], draws[1], sizeof(seed)) != 0) return all_well;
  return fail(no_entropy, "the same 32 bytes twice are no entropy");
}

/// Returns a decimal number that fits, or `fallback` without the option.
virtio::result<u64> number(const char* key, u64 fallback) {
  const boot::text given = boot::option(key);
  if (!given) return fallback;
  u64 value = 0;
  for (usize i = 0; i < given.size; ++i) {
    const char c = given.data[i];
    if (c < '0' || c > '9' || value > 1'000'000'000'000'000) return virtio::errc::invalid_argument;
    value = value * 10 + static_cast<u64>(c - '0');
  }
  if (given.size == 0) return virtio::errc::invalid_argument;
  return value;
}

int run() {
  constexpr u64 none = ~u64{0};
  const auto scratch = number("scratch", none);
  if (!scratch) return fail(bad_option, "scratch= wants a sector number");

  print("virtio ", VIRTIO_VERSION_MAJOR, ".", VIRTIO_VERSION_MINOR, ".", VIRTIO_VERSION_PATCH,
        ", a guest without an operating system\n\n");
  print(virtio::pci::host<demo_board> ? "PCI functions\n  address  ids        verdict\n" : "MMIO slots\n");
  bus::for_each(demo_board{}, visit);
  print_bound();
  demo_board::doorbells = 0;  // without those of the start
  listen();
  if (disk.why().why != virtio::verdict::bound) return fail(no_disk, "no disk was bound");

  cost reading, writing, drawing;
  u64 seen = demo_board::doorbells;
  const auto count_doorbells = [&](cost& spent) {
    spent.doorbells = demo_board::doorbells - seen;
    seen = demo_board::doorbells;
  };

  static constinit sha256 hash;
  if (const int bad = read_disk(hash, reading)) return bad;
  count_doorbells(reading);
  const auto digest = hash.digest();
  print("  SHA-256 ");
  for (const u8 byte : digest.bytes) print(digits{byte, 2});
  print("\n");

  if (*scratch != none) {
    if (const int bad = write_scratch(*scratch, digest, writing)) return bad;
    count_doorbells(writing);
  }

  if (entropy.why().why != virtio::verdict::bound) return fail(no_entropy, "no entropy source was bound");
  if (const int bad = draw_twice(drawing)) return bad;
  count_doorbells(drawing);

  print("\nRequests and doorbells (a doorbell is a register write that notifies the device)\n");
  print_cost("reading ", reading);
  if (*scratch != none) print_cost("writing ", writing);
  print_cost("entropy ", drawing);
  print_cost("in all  ", {reading.requests + writing.requests + drawing.requests, demo_board::doorbells});

  if (boot::option("stay") == "yes" && sockets.why().why == virtio::verdict::bound) {
    print("\nDone; still answering\n");
    for (u32 told = 0; !is_to_end && sockets.check();) {
      answer_visitors();
      if (told == visitors) continue;
      told = visitors;
      print("  visitor ", told, " was answered\n");
    }
  }
  return all_well;
}

}  // namespace

extern "C" int guest_main(const char*) {
  const int status = run();
  // As a boot loader must before it jumps: after this no device can write to memory.
  (void)disk.hand_off();
  (void)entropy.hand_off();
  (void)sockets.hand_off();
  (void)balloon.hand_off();
  (void)console.hand_off();
  (void)card.hand_off();
  return status;
}
