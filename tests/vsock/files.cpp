// SPDX-License-Identifier: MIT
// Runs the code of examples/04_vsock_server for disks and requests on the host, under sanitizers.
//   files IMAGE              lists every file of a FAT image: its path, its size, the FNV-1a of its content
//   files IMAGE SEED TURNS   damages the image and some requests this many times: only errors may result
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "../../examples/files/fat.hpp"
#include "../../examples/04_vsock_server/http.hpp"

namespace {

using virtio::errc, virtio::result;

/// A disk in memory, which counts its requests.
struct memory_disk {
  std::vector<u8> image;
  u64 reads = 0;

  [[nodiscard]] u64 capacity() const { return image.size() / 512; }
  result<void> read(u64 sector, bytes into) {
    ++reads;
    if (into.size() % 512 != 0 || sector > capacity() || into.size() / 512 > capacity() - sector) abort();
    memcpy(into.data(), image.data() + sector * 512, into.size());
    return {};
  }
};

void require(bool good, const char* what) {
  if (good) return;
  fprintf(stderr, "files: %s\n", what);
  exit(1);
}

struct walker {
  memory_disk& disk;
  fat::volume<memory_disk>& files;
  bool says;
  u64 left;  // calls; a damaged disk may have a huge number of directories

  void file(const fat::entry& found, const std::string& path) {
    u64 sum = 0xcbf29ce484222325, size = 0;
    std::vector<u8> piece;
    for (fat::position at = found.begin(); size < found.size && left != 0; --left) {
      const u32 most = static_cast<u32>(std::min<u64>((found.size - size + 511) / 512 * 512, 64 * 1024));
      const auto where = files.take(at, most);
      if (!where) break;
      require(where->size != 0 && where->size % 512 == 0 && where->size <= most,
              "a stretch of nothing, or of too much");
      require(where->sector <= disk.capacity() && where->size / 512 <= disk.capacity() - where->sector,
              "outside of the disk");
      piece.resize(where->size);
      (void)disk.read(where->sector, piece);
      for (const u8 byte : piece)
        if (size++ < found.size) sum = (sum ^ byte) * 0x100000001b3;
    }
    if (says) printf("%s %u %016llx\n", path.c_str(), found.size, static_cast<unsigned long long>(sum));
  }

  void directory(fat::position at, const std::string& path, unsigned depth) {
    auto found = std::make_unique<fat::entry>();
    for (; left != 0; --left) {
      const u64 before = disk.reads;
      const auto got = files.next(at, *found);
      require(disk.reads - before <= 2 * 65536, "a directory without an end");
      if (!got) break;
      const std::string name{reinterpret_cast<const char*>(found->name().data()), found->name().size()};
      require(name.size() <= 780, "a name that is too long");
      if (!found->is_directory) file(*found, path + name);
      else if (depth < 8) directory(found->begin(), path + name + "/", depth + 1);
    }
  }
};

void walk(memory_disk& disk, bool says, u64 most) {
  auto files = std::make_unique<fat::volume<memory_disk>>();
  auto root = std::make_unique<fat::entry>();
  const auto mounted = files->mount(disk);
  require(mounted || !says, "no file system");
  if (!mounted || !files->find({}, *root)) return;
  walker{disk, *files, says, most}.directory(root->begin(), "", 0);
  (void)files->find(text("deep/er/and deeper still/file"), *root);
  fat::position at = root->begin();
  (void)files->skip(at, ~u32{511});
}

void corrupt_image(memory_disk& disk, std::mt19937& source) {
  std::vector<std::pair<usize, u8>> undo;
  const auto below = [&](usize n) { return static_cast<usize>(source() % n); };
  for (usize i = 1 + below(40); i != 0; --i) {
    usize at = below(std::min<usize>(disk.image.size(), 1 << 20));
    const usize where = below(4);
    if (where == 0) at = below(96);  // the description of the file system
    else if (where == 1)             // the index of a part of a name
      for (at = at / 32 * 32; disk.image[at + 11] != 0x0f && at + 64 < disk.image.size();) at += 32;
    const u8 some[] = {0, 1, 0xff, 0x0f, 0x41, static_cast<u8>(source())};
    undo.emplace_back(at, disk.image[at]);
    disk.image[at] = some[below(sizeof some)];
  }
  walk(disk, false, 3000);
  for (; !undo.empty(); undo.pop_back()) disk.image[undo.back().first] = undo.back().second;
}

void corrupt_request(std::mt19937& source) {
  std::string text =
      "GET http://guest/some%20thing?x HTTP/1.1\r\nHost: guest\r\nRange: bytes=10-200\r\n"
      "Connection: a, close\r\nX:\r\n\r\n";
  const char some[] = "\r\n :%,/-=0\x7f\x01";
  for (usize i = source() % 6; i != 0; --i) text[source() % text.size()] = some[source() % (sizeof some - 1)];
  text.resize(text.size() - source() % 4);
  const std::unique_ptr<u8[]> exact{new u8[text.size()]};
  memcpy(exact.get(), text.data(), text.size());
  const usize size = http::head_size({exact.get(), text.size()});
  require(size <= text.size(), "a head longer than what was heard");
  http::request asked;
  if (size != 0 && http::parse(bytes{exact.get(), size}, asked) == http::ok) {
    const u8* const path = asked.path.data();
    require(path >= exact.get() && asked.path.size() <= static_cast<usize>(exact.get() + size - path),
            "a path from elsewhere");
    require(path[0] == '/', "a path that does not begin");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 4) return 2;
  std::ifstream file{argv[1], std::ios::binary};
  memory_disk disk{{std::istreambuf_iterator<char>{file}, {}}};
  if (argc == 2) {
    walk(disk, true, ~u64{0});
    return 0;
  }
  std::mt19937 source{static_cast<unsigned>(strtoul(argv[2], nullptr, 10))};
  for (long turns = strtol(argv[3], nullptr, 10); turns > 0; --turns) {
    corrupt_image(disk, source);
    for (int i = 0; i < 50; ++i) corrupt_request(source);
  }
}
