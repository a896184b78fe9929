// SPDX-License-Identifier: MIT
// PCI: hosts, discovery and the three transports, what a program includes.
#pragma once

#include <virtio/bus/pci/assign.hpp>
#include <virtio/bus/pci/discover.hpp>
#include <virtio/bus/pci/ecam.hpp>
#include <virtio/bus/pci/mcfg.hpp>
#include <virtio/bus/pci/msix.hpp>
#include <virtio/bus/pci/profiled.hpp>
#include <virtio/bus/pci/roots.hpp>
#include <virtio/bus/pci/slot.hpp>
#include <virtio/bus/pci/window.hpp>
#include <virtio/transport/pci_any.hpp>
#if defined(__x86_64__) || defined(__i386__)
#include <virtio/bus/pci/cf8.hpp>
#endif
