// SPDX-License-Identifier: MIT
// The smallest guest that fetches a page: lwIP with DHCP, DNS and its HTTP client over one link, a network card or
// (OVER_VSOCK) gvproxy over vsock. Its size is measured; it is not run: the clock stands still.
#include <lwip/apps/http_client.h>
#include <lwip/dhcp.h>
#include <lwip/init.h>

#include <virtio/net.hpp>
#include <virtio/vsock.hpp>
#include <virtio/vsock/ethernet_link.hpp>

#include "../../examples/net/lwip_netif.hpp"
#include "../size/programs.hpp"

u16 lwip_port_dns_port = 53;
static volatile u32 ticks;
extern "C" u32 sys_now() { return ticks; }
extern "C" u32 lwip_port_random() { return ticks; }

namespace {

#if defined(OVER_VSOCK)
struct milliseconds {
  u64 operator()() const { return ticks; }
};
using sockets_t =
    vsock::device<board, pci::modern<board>, split_queue<64>,
                  vsock::limits{
                      .connections = 1, .listeners = 1, .receive_packet = 2048, .receive_buffer = 65536, .pieces = 32}>;
constinit dma_storage<sockets_t::dma_bytes> dma;
constinit sockets_t device;
using link_t = vsock::ethernet_link<sockets_t, milliseconds>;
constinit link_t link;
#else
using link_t = net::device<board, pci::modern<board>, split_queue<64>>;
constinit dma_storage<link_t::dma_bytes> dma;
constinit link_t link;
#endif
constinit net_example::lwip_netif<link_t> interface;

struct fetch {
  u8* to;
  bool ended, failed;
  httpc_connection_t settings;
};
constinit fetch page{};

}  // namespace

extern "C" int counted_program(u64, u8* to) {
#if defined(OVER_VSOCK)
  const auto where = pci::find(board{}, device_type::vsock);
  if (!where) return code(where.error());
  if (const auto up = device.start(board{}, *where, dma, vsock::seed{ticks}); !up) return code(up.error());
  if (const auto up = link.start(device); !up) return code(up.error());
#else
  if (const errc up = find_and_start<board>(link, device_type::network, dma); up != errc::ok) return code(up);
#endif
  lwip_init();
  if (!interface.add(link)) return code(errc::no_space);
  dhcp_start(&interface.lwip());
  page.to = to;
  page.settings.result_fn = [](void*, httpc_result_t how, u32_t, u32_t status, err_t) {
    page.ended = true;
    page.failed = how != HTTPC_RESULT_OK || status != 200;
  };
  for (bool asked = false; !page.ended;) {
    if (const errc why = interface.turn(); why != errc::ok) return code(why);
    if (asked || dhcp_supplied_address(&interface.lwip()) == 0) continue;
    asked = true;
    const err_t e = httpc_get_file_dns(
        "host.containers.internal", 80, "/", &page.settings,
        [](void*, tcp_pcb* pcb, pbuf* p, err_t) {
          (void)pbuf_copy_partial(p, page.to, 512, 0);
          tcp_recved(pcb, p->tot_len);
          pbuf_free(p);
          return err_t{ERR_OK};
        },
        nullptr, nullptr);
    if (e != ERR_OK) return e;
  }
  return page.failed ? 1 : 0;
}
