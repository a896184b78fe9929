// SPDX-License-Identifier: MIT
// SHA-256 in pieces, without a library or a heap. The demo checks a whole disk's contents with it.
// Spec: FIPS 180-4. Tested by tests/demo/check against another implementation.
#pragma once

#include <stddef.h>
#include <stdint.h>

/// Call `update` for each piece, then `digest` once.
class sha256 {
 public:
  struct digest_type {
    uint8_t bytes[32];
  };

  constexpr void update(const uint8_t* data, size_t size) {
    total_ += size;
    while (size != 0) {
      if (held_ == 0 && size >= block_bytes) {  // straight from the caller's memory
        compress(data);
        data += block_bytes;
        size -= block_bytes;
        continue;
      }
      hold_[held_++] = *data++;
      --size;
      if (held_ == block_bytes) compress_held();
    }
  }

  /// Returns the hash of all pieces. The object is of no use afterwards.
  [[nodiscard]] constexpr digest_type digest() {
    const uint64_t bits = total_ * 8;
    hold_[held_++] = 0x80;
    if (held_ > block_bytes - 8) {
      while (held_ < block_bytes) hold_[held_++] = 0;
      compress_held();
    }
    while (held_ < block_bytes - 8) hold_[held_++] = 0;
    for (unsigned i = 0; i < 8; ++i) hold_[held_++] = static_cast<uint8_t>(bits >> (56 - 8 * i));
    compress_held();
    digest_type out{};
    for (unsigned i = 0; i < 32; ++i) out.bytes[i] = static_cast<uint8_t>(state_[i / 4] >> (24 - i % 4 * 8));
    return out;
  }

 private:
  static constexpr size_t block_bytes = 64;

  // The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
  static constexpr uint32_t round_constants[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
      0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
      0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
      0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
      0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
      0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

  static constexpr uint32_t rotate(uint32_t x, unsigned n) { return x >> n | x << (32 - n); }

  // One round, which instead of moving eight words writes the two that change: the caller renames.
  static constexpr void round(uint32_t a, uint32_t b, uint32_t c, uint32_t& d, uint32_t e, uint32_t f, uint32_t g,
                              uint32_t& h, uint32_t word_and_constant) {
    const uint32_t t = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + (g ^ (e & (f ^ g))) + word_and_constant;
    d += t;
    h = t + (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) | (c & (a | b)));
  }

  constexpr void compress(const uint8_t* block) {
    uint32_t w[16] = {};
    for (unsigned i = 0; i < 16; ++i)
      w[i] = uint32_t{block[4 * i]} << 24 | uint32_t{block[4 * i + 1]} << 16 | uint32_t{block[4 * i + 2]} << 8 |
             uint32_t{block[4 * i + 3]};
    uint32_t a = state_[0], b = state_[1], c = state_[2], d = state_[3];
    uint32_t e = state_[4], f = state_[5], g = state_[6], h = state_[7];
    for (unsigned base = 0;; base += 16) {
      const uint32_t* const k = round_constants + base;
      for (unsigned i = 0; i < 16; i += 8) {
        round(a, b, c, d, e, f, g, h, w[i] + k[i]);
        round(h, a, b, c, d, e, f, g, w[i + 1] + k[i + 1]);
        round(g, h, a, b, c, d, e, f, w[i + 2] + k[i + 2]);
        round(f, g, h, a, b, c, d, e, w[i + 3] + k[i + 3]);
        round(e, f, g, h, a, b, c, d, w[i + 4] + k[i + 4]);
        round(d, e, f, g, h, a, b, c, w[i + 5] + k[i + 5]);
        round(c, d, e, f, g, h, a, b, w[i + 6] + k[i + 6]);
        round(b, c, d, e, f, g, h, a, w[i + 7] + k[i + 7]);
      }
      if (base == 48) break;
      for (unsigned i = 0; i < 16; ++i) {  // the schedule's next sixteen words, in place
        const uint32_t x = w[(i + 1) % 16], y = w[(i + 14) % 16];
        w[i] += (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) + w[(i + 9) % 16] + (rotate(y, 17) ^ rotate(y, 19) ^ y >> 10);
      }
    }
    state_[0] += a;
    state_[1] += b;
    state_[2] += c;
    state_[3] += d;
    state_[4] += e;
    state_[5] += f;
    state_[6] += g;
    state_[7] += h;
  }

  constexpr void compress_held() {
    compress(hold_);
    held_ = 0;
  }

  // The first 32 bits of the fractional parts of the square roots of the first 8 primes.
  uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint64_t total_ = 0;
  uint8_t hold_[block_bytes] = {};
  size_t held_ = 0;
};
