/* SPDX-License-Identifier: MIT
 * The examples' lwIP, with two interfaces on one wire: the sender selects its interface. */
#pragma once

#include "../../../examples/net/lwipopts.h"
#undef LWIP_SINGLE_NETIF
#define LWIP_SINGLE_NETIF 0

struct ip4_addr;
struct netif;
struct netif* lwip_port_route(const struct ip4_addr* from, const struct ip4_addr* to);
#define LWIP_HOOK_IP4_ROUTE_SRC(from, to) lwip_port_route(from, to)
