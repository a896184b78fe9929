// SPDX-License-Identifier: MIT
// A boot loader: it searches a virtio disk for boot entries (Boot Loader Specification, loader/entries/*.conf on a FAT
// partition), and starts the Linux kernel of one of them.
// With `timeout` in loader.conf there is a menu on the serial console, and on the screen of a PC.
// Command line: disk=<serial> selects the disk instead of the first one, table=<id> selects it by its partition table;
// entry=<id> selects the entry instead of the default.
// Exit status: 20 no disk, 21 no entry, 22 the entry could not be started.
#include "board.hpp"
#include "disk.hpp"
#include "entries.hpp"
#include "kernel.hpp"
#include "linux.hpp"  // the processor's
#include "loading.hpp"

namespace {

using boot::print;
using virtio::errc, virtio::result;

constinit loader::disk::storage disk_dma;
constinit loader::disk disk;

using slice = partitions::slice<loader::disk>;
constinit slice part;
constinit fat::volume<slice> files;
constinit fat::entry found;  // by the last lookup in a directory

constexpr usize most_entries = 16;
constinit loader::entry entries[most_entries];
constinit usize entry_count = 0;
constinit loader::settings settings;
static_assert(loader::bootable<loader::kernel>);
constinit loader::kernel kernel;
constinit char options[4096];

enum status : int { no_disk = 20, no_entry = 21, not_started = 22 };

void print_text(const_bytes s) {
  for (usize i = 0; i < s.size(); ++i) {
    const u8 c = s.data()[i];
    boot::put(static_cast<char>(c >= 0x20 && c != 0x7f ? c : '?'));
  }
}

/// Prints the sector if a read of the partition has failed with this error.
void print_sector(errc why, u64 sector) {
  if (why != errc::ok && sector != 0) print("sector ", sector, " of the disk: ");
}

/// Returns why a path does not lead to a file, or a file not to its sectors.
const char* describe_path(errc e) {
  if (e == errc::ok || e == errc::not_found) return "there is no such file";
  if (e == errc::io_error && part.failed().why == errc::ok && !disk.is_gone()) return "the file system is damaged";
  return disk.describe(e);
}

/// Prints that a file or folder of the partition could not be read. `not_found` is not an error.
void complain(const_bytes what, errc why) {
  if (why == errc::ok || why == errc::not_found) return;
  print_sector(part.failed().why, part.failed().sector);
  print_text(what);
  print(": ", describe_path(why), "\n");
}

/// Reads a small file. Returns whether `out` contains all of it; if not, prints the reason.
bool read_text(const fat::entry& file, const_bytes& out) {
  alignas(4096) static u8 text[65536];
  out = {};
  if (file.size > sizeof text) {
    print_text(file.name());
    print(": it is larger than 64 KiB\n");
    return false;
  }
  loader::file_reader<loader::disk> reader{disk, files, part.first()};
  const auto read = reader.read(file, 0, file.size, text, [](u32) {});
  if (read.why == errc::ok) {
    out = {text, file.size};
    return true;
  }
  print_sector(read.why, read.sector);
  if (read.sector == 0) return complain(file.name(), read.why), false;
  print_text(file.name());
  print(": ", disk.describe(read.why), "\n");
  return false;
}

/// Adds the entries of the mounted partition. Returns whether there are any.
bool read_entries() {
  fat::entry folder;
  settings = {};  // drops those of the previous partition
  const_bytes file;
  const auto settings_there = files.find(text("loader/loader.conf"), folder);
  complain(text("loader/loader.conf"), settings_there.error());
  if (settings_there && !folder.is_directory && read_text(folder, file)) settings.parse(file);
  const auto entries_there = files.find(text("loader/entries"), folder);
  complain(text("loader/entries"), entries_there.error());
  if (!entries_there || !folder.is_directory) return false;
  for (fat::position at = folder.begin();;) {
    if (const auto more = files.next(at, found); !more) {
      complain(text("loader/entries"), more.error());
      break;
    }
    if (found.is_directory || !ends_with(found.name(), text(".conf"))) continue;
    if (entry_count == most_entries) {
      print("more than ", most_entries, " boot entries: the rest is not shown\n");
      break;
    }
    loader::entry& one = entries[entry_count];
    one = {};
    loader::flaw wrong =
        one.id.set(found.name().part(0, found.name().size() - 5)) ? loader::flaw::none : loader::flaw::too_long;
    if (wrong == loader::flaw::none) {
      if (!read_text(found, file)) continue;
      wrong = parse(file, loader::architecture(), one);
    }
    if (wrong == loader::flaw::none) ++entry_count;
    else if (wrong != loader::flaw::other_processor) {
      print_text(found.name());
      print(": not shown, since ", describe(wrong), "\n");
    }
  }
  for (usize i = 1; i < entry_count; ++i)  // an insertion sort: there are few
    for (usize k = i; k != 0 && stands_before(entries[k], entries[k - 1]); --k) {
      static loader::entry kept;
      kept = entries[k];
      entries[k] = entries[k - 1];
      entries[k - 1] = kept;
    }
  return entry_count != 0;
}

/// Searches a part of the disk. Returns whether there are boot entries.
bool look_on(u64 first, u64 sectors) {
  part = slice{disk, first, sectors};
  const auto mounted = files.mount(part);
  if (part.failed().why != errc::ok) complain(text("file system"), mounted.error());
  return mounted && read_entries();
}

/// Searches EFI system partitions first, then the others, then a disk without partitions.
bool look_on_disk() {
  constexpr usize most = 128;
  static partitions::partition all[most];
  usize count = 0;
  static constinit partitions::reader<loader::disk> tables;
  const auto read = tables.for_each(disk, [&](const partitions::partition& one) {
    if (count != most) all[count++] = one;
  });
  if (!read)
    print("partition table: ", read.error() == errc::out_of_range ? "it is damaged" : disk.describe(read.error()),
          "\n");
  const auto look_on_those = [&](bool efi_system) {
    for (usize i = 0; i < count; ++i)
      if (all[i].is_efi_system() == efi_system && look_on(all[i].first, all[i].sectors)) {
        print("partition ", all[i].index, "\n");
        return true;
      }
    return false;
  };
  if (look_on_those(true) || look_on_those(false)) return true;
  return count == 0 && look_on(0, disk.capacity());
}

/// A progress line that grows while a file is loaded.
class bar {
 public:
  bar(const_bytes name, u64 size) : size_{size} {
    print("loading ");
    print_text(name);
    print(", ", size >> 10, " KiB [");
  }
  void show(u64 done) {
    for (; shown_ < width && done * width >= (shown_ + 1) * size_; ++shown_) boot::put('#');
  }
  void end() { print("]\n"); }

 private:
  static constexpr u64 width = 32;
  u64 size_;
  u64 shown_ = 0;
};

int refuse(const_bytes name, const char* why) {
  print_text(name);
  print(": ", why, "\n");
  return not_started;
}

/// Reports an invalid path, or a file whose sectors cannot be found.
int refuse_path(const_bytes name, errc why) {
  print_sector(part.failed().why, part.failed().sector);
  return refuse(name, describe_path(why));
}

/// Reports a file that could not be read.
int refuse(const_bytes name, const loader::read_error& read) {
  if (read.sector == 0) return refuse_path(name, read.why);
  print_sector(read.why, read.sector);
  return refuse(name, disk.describe(read.why));
}

/// Loads a file, whole or from an offset on. Returns 0, or an exit status.
int load(const_bytes name, const fat::entry& file, u32 from, u32 size, u8* to) {
  loader::file_reader<loader::disk> reader{disk, files, part.first()};
  bar progress{name, size};
  const auto read = reader.read(file, from, size, to, [&](u32 done) { progress.show(done); });
  progress.end();
  return read.why == errc::ok ? 0 : refuse(name, read);
}

/// Writes the kernel's command line: the entry's options, and the MMIO slots that a monitor without ACPI has named.
/// Returns whether it fits.
bool write_options(const loader::entry& chosen) {
  const usize most = virtio::detail::smaller(sizeof options - 1, usize{kernel.most_options()});
  writer out{bytes{options, most + 1}};  // one byte more than the limit, to detect text that does not fit
  out.put(chosen.options.get());
  boot::each_word(boot::command_line(), [&](boot::text word) {
    const const_bytes whole{word.data, word.size};
    if (begins_with(whole, text("virtio_mmio.device="))) out.put(' ', whole);
  });
  if (out.size() > most) return false;
  options[out.size()] = '\0';
  return true;
}

/// Starts an entry's kernel. Returns only if that fails.
int start(const loader::entry& chosen) {
  print("starting ");
  print_text(chosen.name());
  print("\n");

  part.forget_failure();  // of an earlier entry
  const const_bytes name = chosen.kernel.get();
  fat::entry file;
  if (const auto there = files.find(name, file); !there || file.is_directory) return refuse_path(name, there.error());
  alignas(4096) static u8 head[loader::kernel::head_bytes];
  loader::file_reader<loader::disk> reader{disk, files, part.first()};
  const u32 looked_at = virtio::detail::smaller(file.size, u32{sizeof head});
  if (const auto read = reader.read(file, 0, looked_at, head, [](u32) {}); read.why != errc::ok)
    return refuse(name, read);
  if (const char* const wrong = kernel.open({head, looked_at}, file.size); wrong != nullptr) return refuse(name, wrong);
  if (!write_options(chosen)) return refuse(name, "the entry's options are longer than it takes");

  const auto at = kernel.place();
  if (!at) return refuse(name, "there is no room for it in memory");
  if (const int failed = load(name, file, kernel.code_at(), kernel.code_size(), *at); failed != 0) return failed;

  u64 size = 0;  // of all initrds; each begins at a multiple of 4
  fat::entry initrd;
  for (usize i = 0; i < chosen.initrds; ++i) {
    if (const auto there = files.find(chosen.initrd[i].get(), initrd); !there || initrd.is_directory)
      return refuse_path(chosen.initrd[i].get(), there.error());
    size = ((size + 3) & ~u64{3}) + initrd.size;
  }
  if (size != 0) {
    const auto where = kernel.place_initrd(size);
    if (!where) return refuse(chosen.initrd[0].get(), "there is no room for it in memory");
    u64 used = 0;
    for (usize i = 0; i < chosen.initrds; ++i) {
      const auto there = files.find(chosen.initrd[i].get(), initrd);
      if (!there) return refuse_path(chosen.initrd[i].get(), there.error());
      for (; used % 4 != 0; ++used) (*where)[used] = 0;
      // A disk may return another size than before.
      if (used + initrd.size > size) return refuse_path(chosen.initrd[i].get(), errc::io_error);
      if (const int failed = load(chosen.initrd[i].get(), initrd, 0, initrd.size, *where + used); failed != 0)
        return failed;
      used += initrd.size;
    }
  }

  if (const char* const wrong = kernel.prepare(options); wrong != nullptr) return refuse(name, wrong);
  if (const auto quiet = disk.hand_off(); !quiet) return refuse(text("disk"), virtio::describe(quiet.error()));
  print("entering the kernel\n");
  kernel.start();
}

/// Returns the key of entry `i`: a digit, or a letter after 9.
char key_of(usize i) { return static_cast<char>(i < 9 ? '1' + i : 'a' + (i - 9)); }

/// Shows the menu until a key selects an entry or the time is over. Other keys stop the clock; with 0 seconds it waits
/// for a key.
usize ask(usize preferred, u32 seconds) {
  for (usize i = 0; i < entry_count; ++i) {
    print(i == preferred ? "* " : "  ");
    boot::put(key_of(i));
    print("  ");
    print_text(entries[i].name());
    print("\n");
  }
  print("its key, or Enter for the one with a star");
  if (seconds != 0) print(", which is started in ", seconds, " s");
  print("\n");
  const u64 began = boot::timestamp();
  enum : u8 { none, begun, inside } escape = none;  // a cursor or function key: its bytes select no entry
  for (bool counts = seconds != 0;;) {
    if (counts && boot::milliseconds_since(began) >= u64{seconds} * 1000) return preferred;
    char key;
    if (!boot::take(key)) {
      boot::pause();
      continue;
    }
    counts = false;
    if (key == '\x1b') {
      escape = begun;
      continue;
    }
    if (escape == inside || (escape == begun && (key == '[' || key == 'O'))) {
      escape = escape == inside && key >= 0x40 ? none : inside;
      continue;
    }
    escape = none;
    if (key == '\r' || key == '\n') return preferred;
    for (usize i = 0; i < entry_count; ++i)
      if (key == key_of(i)) return i;
  }
}

}  // namespace

extern "C" int guest_main(const char*) {
  const auto word = [](const char* key) {
    const boot::text said = boot::option(key);
    return said ? const_bytes{said.data, said.size} : const_bytes{};
  };
  if (!disk.start(word("disk"), word("table"), disk_dma)) return no_disk;
  if (!look_on_disk()) {
    print("no boot entries: no partition has a FAT file system with loader/entries/*.conf\n");
    return no_entry;
  }
  usize chosen = 0;
  for (usize i = entry_count; i-- != 0;)
    if (settings.prefers(entries[i])) chosen = i;
  if (const boot::text wish = boot::option("entry")) {
    usize i = 0;
    while (i < entry_count && !alike(entries[i].id.get(), {wish.data, wish.size})) ++i;
    if (i == entry_count) return refuse({wish.data, wish.size}, "there is no such entry");
    return start(entries[i]);
  }
  if (settings.timeout == 0) return start(entries[chosen]);
  // If an entry cannot be started, the menu returns and waits for a key.
  for (u32 seconds = settings.timeout;; seconds = 0) (void)start(entries[ask(chosen, seconds)]);
}
