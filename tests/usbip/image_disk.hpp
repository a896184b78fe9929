// SPDX-License-Identifier: MIT
// A file as a disk of 512-byte blocks. Requests are executed when they are submitted. They end later, the latest first.
#pragma once

#include <cerrno>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <usbip/storage/disk.hpp>

class image_disk {
 public:
  /// Returns false on an error; errno has the reason.
  bool open(const char* path) {
    fd_ = ::open(path, O_RDWR | O_CLOEXEC);
    if (fd_ < 0 && (errno == EACCES || errno == EROFS)) {
      fd_ = ::open(path, O_RDONLY | O_CLOEXEC);
      is_read_only_ = true;
    }
    struct stat facts{};
    if (fd_ < 0 || fstat(fd_, &facts) != 0) return false;
    blocks_ = static_cast<usbip::u64>(facts.st_size) / 512;
    return true;
  }

  [[nodiscard]] usbip::u64 blocks() const { return blocks_; }
  [[nodiscard]] usbip::u32 block_bytes() const { return 512; }
  [[nodiscard]] bool is_read_only() const { return is_read_only_; }
  usbip::storage::submitted submit_read(usbip::u64 block, usbip::bytes into, usbip::u64 cookie) {
    return end(cookie, pread(fd_, into.data, into.size, at(block)) == static_cast<ssize_t>(into.size),
               usbip::storage::read_error);
  }
  usbip::storage::submitted submit_write(usbip::u64 block, usbip::const_bytes from, usbip::u64 cookie) {
    return end(cookie, pwrite(fd_, from.data, from.size, at(block)) == static_cast<ssize_t>(from.size),
               usbip::storage::write_error);
  }
  usbip::storage::submitted submit_flush(usbip::u64 cookie) {
    return end(cookie, fdatasync(fd_) == 0, usbip::storage::write_error);
  }
  void kick() {}
  bool next_completion(usbip::storage::completion& ended) {
    if (ended_.empty()) return false;
    ended = ended_.back();
    ended_.pop_back();
    return true;
  }
  /// Returns whether an ended request has not been returned yet, so its connection has work.
  [[nodiscard]] bool has_completions() const { return !ended_.empty(); }

 private:
  static off_t at(usbip::u64 block) { return static_cast<off_t>(block * 512); }
  usbip::storage::submitted end(usbip::u64 cookie, bool worked, usbip::storage::sense failed) {
    ended_.push_back({cookie, worked ? usbip::storage::good : failed});
    return usbip::storage::submitted::taken();
  }

  int fd_ = -1;
  usbip::u64 blocks_ = 0;
  bool is_read_only_ = false;
  std::vector<usbip::storage::completion> ended_;
};
