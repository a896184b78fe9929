// SPDX-License-Identifier: MIT
// Linux under UEFI, for every processor: the kernel itself is a program for UEFI, by its EFI stub. The firmware loads
// it from memory and starts it, the options are its load options, and it requests the initrd by LoadFile2. The kernel
// receives the memory map, ACPI and the runtime services from the firmware, and ends the boot services itself. The
// 64-bit protocol after ExitBootServices exists only for x86-64, and would leave these tasks to this program.
//
// Format: UEFI Specification 2.10, 7.4 and 13.2; Linux, Documentation/admin-guide/efi-stub.rst.
#pragma once

#include <virtio/base/result.hpp>

#include "../../boot/uefi/board.hpp"
#include "../../files/text.hpp"
#include "program.hpp"

namespace loader {

using virtio::errc, virtio::result;

/// The name that boot entries have for this processor.
#if defined(__x86_64__)
inline const_bytes architecture() { return text("x64"); }
inline constexpr efi_processor own_processor = efi_processor::x86_64;
#else
inline const_bytes architecture() { return text("aa64"); }
inline constexpr efi_processor own_processor = efi_processor::aarch64;
#endif

/// Pages from the firmware.
class pages {
 public:
  /// Allocates pages in place of the previous ones. Error: `no_space`.
  [[nodiscard]] result<u8*> allocate(u64 size) {
    free();
    const u64 count = (size + 4095) / 4096;
    u64 at = 0;
    const auto how =
        uefi::services().allocate_pages(efi::allocate::any_pages, efi::memory_type::loader_data, count, &at);
    if (efi::failed(how)) return errc::no_space;
    at_ = at;
    count_ = count;
    return data();
  }
  void free() {
    if (count_ != 0) uefi::services().free_pages(at_, count_);
    count_ = 0;
  }
  [[nodiscard]] u8* data() const { return reinterpret_cast<u8*>(static_cast<usize>(at_)); }

 private:
  u64 at_ = 0;
  u64 count_ = 0;
};

/// The initrd for the kernel's stub: a handle with Linux's own device path and LoadFile2.
class initrd_server {
 public:
  /// Error: the firmware's.
  [[nodiscard]] efi::status install(const u8* data, u64 size) {
    file_ = {{load}, data, size};
    handle_ = nullptr;
    const auto there = uefi::services().install_protocol(&handle_, &efi::device_path::id, 0, const_cast<path*>(&where));
    if (efi::failed(there)) return there;
    return uefi::services().install_protocol(&handle_, &efi::load_file2::id, 0, &file_.calls);
  }
  void uninstall() {
    if (handle_ == nullptr) return;
    uefi::services().uninstall_protocol(handle_, &efi::load_file2::id, &file_.calls);
    uefi::services().uninstall_protocol(handle_, &efi::device_path::id, const_cast<path*>(&where));
    handle_ = nullptr;
  }

 private:
  struct file {
    efi::load_file2 calls;  // first member: the firmware passes a pointer to it
    const u8* data;
    u64 size;
  };
  struct [[gnu::packed]] path {
    u8 type, subtype, length[2];
    efi::guid vendor;
    u8 end[4];
  };
  static constexpr path where{4,
                              3,
                              {20, 0},
                              {0x5568e427, 0x68fc, 0x4f3d, {0xac, 0x74, 0xca, 0x55, 0x52, 0x31, 0xcc, 0x68}},
                              {0x7f, 0xff, 4, 0}};

  static efi::status load(efi::load_file2* calls, const void*, uint8_t boot_policy, size_t* size, void* to) {
    const file& one = *reinterpret_cast<const file*>(calls);
    if (boot_policy != 0) return efi::status::unsupported;
    if (size == nullptr) return efi::status::invalid_parameter;
    const size_t room = *size;
    *size = one.size;
    if (to == nullptr || room < one.size) return efi::status::buffer_too_small;
    __builtin_memcpy(to, one.data, one.size);
    return efi::status::success;
  }

  file file_{};
  efi::handle handle_ = nullptr;
};

class kernel {
 public:
  static constexpr usize head_bytes = 4096;

  /// Reads the first `head_bytes` of the file. Returns null, or what is wrong with it.
  [[nodiscard]] const char* open(const_bytes head, u64 file_size) {
    forget();
    if (const char* const wrong = check_program(head, own_processor); wrong != nullptr) return wrong;
    if (file_size > 0x8000'0000) return "the file is larger than 2 GiB";
    size_ = static_cast<u32>(file_size);
    return nullptr;
  }
  [[nodiscard]] u32 code_at() const { return 0; }
  [[nodiscard]] u32 code_size() const { return size_; }
  [[nodiscard]] u32 most_options() const { return most_characters; }

  /// Errors: `no_space`.
  [[nodiscard]] result<u8*> place() { return file_.allocate(u64{size_} + largest_block); }
  [[nodiscard]] result<u8*> place_initrd(u64 size) {
    initrd_size_ = size;
    return initrd_.allocate(size + largest_block);
  }

  /// Loads the kernel by the firmware. Returns null, or what is wrong.
  [[nodiscard]] const char* prepare(const char* options) {
    // Some firmware requires a path for each image: this one names the memory that it was read to.
    const u64 first = reinterpret_cast<usize>(file_.data());
    constexpr auto kind = static_cast<u32>(efi::memory_type::loader_data);
    path_ = {1, 3, {24, 0}, kind, first, first + size_ - 1, {0x7f, 0xff, 4, 0}};
    if (efi::failed(uefi::services().load_image(0, uefi::self, &path_, file_.data(), size_, &image_))) {
      forget();
      return "the firmware does not load it";
    }
    // The file stays in memory until the kernel takes over all memory: OVMF fills freed pages with 0xaf.
    auto* const loaded = uefi::interface_of<efi::loaded_image>(image_);
    if (loaded == nullptr) return "the firmware does not load it";
    loaded->options = options_;
    loaded->options_size = static_cast<u32>((widen(options) + 1) * sizeof(char16_t));
    if (initrd_size_ != 0 && efi::failed(served_.install(initrd_.data(), initrd_size_)))
      return "the firmware does not take its initrd";
    return nullptr;
  }

  /// Starts the kernel. No device may be active. If the kernel returns, the program ends and the firmware continues its
  /// boot order.
  [[noreturn]] void start() {
    uefi::claimed.leave();
    const efi::status how = uefi::services().start_image(image_, nullptr, nullptr);
    boot::print("the kernel has come back with status ", boot::hex(static_cast<u64>(how) & 0xffff), "\n");
    forget();
    boot::exit(22);
  }

 private:
  static constexpr u32 largest_block = 4096;  // of a disk; the last block is read whole
  static constexpr u32 most_characters = 2047;

  /// Converts UTF-8 to UTF-16. Returns the number of units, without the terminator. Invalid bytes become question
  /// marks.
  usize widen(const char* from) {
    const u8* s = reinterpret_cast<const u8*>(from);
    usize n = 0;
    while (*s != 0 && n < most_characters) {
      const u8 first = *s++;
      const unsigned more = first < 0x80 ? 0 : (first & 0xe0) == 0xc0 ? 1 : (first & 0xf0) == 0xe0 ? 2 : 3;
      u32 c = first & (more == 0 ? 0x7fu : 0x3fu >> more);
      for (unsigned i = 0; i < more; ++i) c = (*s & 0xc0) == 0x80 ? c << 6 | (*s++ & 0x3fu) : ~u32{0};
      options_[n++] = more == 3 || c > 0xffff ? u'?' : static_cast<char16_t>(c);
    }
    options_[n] = 0;
    return n;
  }

  void forget() {
    served_.uninstall();
    if (image_ != nullptr) uefi::services().unload_image(image_);
    image_ = nullptr;
    file_.free();
    initrd_.free();
    initrd_size_ = 0;
  }

  struct [[gnu::packed]] memory_path {
    u8 type, subtype, length[2];
    u32 kind;
    u64 first, last;
    u8 end[4];
  };

  u32 size_ = 0;
  u64 initrd_size_ = 0;
  pages file_{}, initrd_{};
  efi::handle image_ = nullptr;
  initrd_server served_{};
  memory_path path_{};
  char16_t options_[most_characters + 1]{};
};

}  // namespace loader
