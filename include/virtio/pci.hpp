// SPDX-License-Identifier: MIT
// PCI: hosts, discovery and the three transports, what a program includes.
#pragma once

#include <virtio/pci/assign.hpp>
#include <virtio/pci/discover.hpp>
#include <virtio/pci/ecam.hpp>
#include <virtio/pci/mcfg.hpp>
#include <virtio/pci/msix.hpp>
#include <virtio/pci/roots.hpp>
#include <virtio/pci/slot.hpp>
#include <virtio/pci/window.hpp>
#include <virtio/transport/pci_any.hpp>
#if defined(__x86_64__) || defined(__i386__)
#include <virtio/pci/cf8.hpp>
#endif
