// SPDX-License-Identifier: MIT
// A protected machine of KVM on Arm (pKVM, which Android's AVF runs): the host sees only memory that the guest shares
// with it, a granule at a time, and receives only register accesses in pages that the guest has registered.
// Spec: SMC Calling Convention 1.1, 7.3 and 7.4; Linux, Documentation/virt/kvm/arm/hypercalls.rst.
#pragma once

#include "device_tree.hpp"

namespace boot {

/// The results of a call in x0 to x3.
struct smccc_result {
  uint64_t values[4];
};

/// `Call` makes a call by HVC: `smccc_result operator()(uint32_t function, uint64_t argument) const`. All-zero until
/// `look`, and permanently on other hypervisors: there all memory is shared and no register page needs a registration.
template <class Call>
class protected_kvm {
  enum : uint32_t {
    psci_features = 0x8400000a,
    smccc_version = 0x80000000,
    hypervisor_uid = 0x8600ff01,
    services_of_kvm = 0x86000000,
    service_memory_info = 0xc6000002,  // a service's number is its bit in the result
    service_share = 0xc6000003,
    service_guard = 0xc6000007,
  };

 public:
  /// Queries the hypervisor step by step, so that each call is known to exist. Only on machines with PSCI by HVC.
  void look(Call call) {
    const auto failed = [](uint64_t code) { return static_cast<int32_t>(code) < 0; };
    if (failed(call(psci_features, smccc_version).values[0])) return;
    if (const uint64_t version = call(smccc_version, 0).values[0]; failed(version) || version < 0x10001) return;
    const smccc_result uid = call(hypervisor_uid, 0);
    constexpr uint32_t kvm[4] = {0xb66fb428, 0xe911c52e, 0x564bcaa9, 0x743a004d};
    for (unsigned i = 0; i < 4; ++i)
      if (static_cast<uint32_t>(uid.values[i]) != kvm[i]) return;
    const auto known = static_cast<uint32_t>(call(services_of_kvm, 0).values[0]);
    if (!has(known, service_memory_info)) return;
    const uint64_t granule = call(service_memory_info, 0).values[0];
    if (granule < 4096 || granule > 65536 || (granule & (granule - 1)) != 0) return;  // or negative, an error
    services_ = known;
    granule_ = granule;
  }

  /// The unit of sharing, in bytes; 0: all memory is shared.
  [[nodiscard]] uint64_t granule() const { return has(services_, service_share) ? granule_ : 0; }

  /// Shares memory with the host, which may then read and write it. Returns false if it is not in whole granules, or
  /// if the hypervisor rejects it.
  [[nodiscard]] bool share(Call call, range memory) const {
    return granule() == 0 || each(call, service_share, memory);
  }

  /// Registers these device registers, whose accesses go to the host. Without this call the accesses fault.
  [[nodiscard]] bool guard(Call call, range registers) const {
    if (!has(services_, service_guard)) return true;
    const uint64_t first = registers.base & ~(granule_ - 1),
                   end = (registers.base + registers.size + (granule_ - 1)) & ~(granule_ - 1);
    return each(call, service_guard, {first, end - first});
  }

 private:
  [[nodiscard]] static bool has(uint32_t services, uint32_t function) { return (services >> (function & 31) & 1) != 0; }

  [[nodiscard]] bool each(Call call, uint32_t function, range of) const {
    if (((of.base | of.size) & (granule_ - 1)) != 0) return false;
    for (uint64_t done = 0; done < of.size; done += granule_)
      if (call(function, of.base + done).values[0] != 0) return false;
    return true;
  }

  uint32_t services_{};
  uint64_t granule_{};
};

}  // namespace boot
