/* SPDX-License-Identifier: MIT
 * What of lwIP the guests have: IPv4, TCP, UDP, DHCP and DNS on one processor, with no operating system. lwip/opt.h explains each. */
#pragma once

#include <stdint.h>

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0 /* nothing of lwIP runs in an interrupt */
#define LWIP_SOCKET 0
#define LWIP_NETCONN 0
#define LWIP_RAW 0
#define LWIP_IPV6 0
#define LWIP_STATS 0
#define LWIP_DHCP 1
#define DHCP_DOES_ARP_CHECK 0 /* a second of every start, for an address that the server has just given */
#define LWIP_DNS 1
#define LWIP_HAVE_LOOPIF 0
#define LWIP_SINGLE_NETIF 1 /* of a program with several, 0 */
#define IP_FRAG 0 /* lwIP sends none, and takes none that come */
#define IP_REASSEMBLY 0
#define LWIP_NOASSERT 1

/* What ../lwip_netif.hpp uses. */
#define LWIP_SUPPORT_CUSTOM_PBUF 1
#define LWIP_CHECKSUM_CTRL_PER_NETIF 1
#define LWIP_NETIF_LINK_CALLBACK 1
#define LWIP_NETIF_STATUS_CALLBACK 1

/* Eighty connections that all have as much under way as they may. All of it is in .bss. */
#define MEM_ALIGNMENT 8
#define MEM_SIZE (16 * 1024 * 1024)
#define MEMP_NUM_PBUF 2048 /* that refer to memory of the program */
#define MEMP_NUM_TCP_PCB 96
#define MEMP_NUM_TCP_PCB_LISTEN 4
#define MEMP_NUM_TCP_SEG 4096
#define MEMP_NUM_UDP_PCB 8
#define PBUF_POOL_SIZE 128 /* frames that are copied, when the link can lend no more of them */
#define PBUF_POOL_BUFSIZE 1536
#define TCP_MSS 1460
#define TCP_WND (44 * TCP_MSS)
#define TCP_SND_BUF (44 * TCP_MSS)
#define TCP_SND_QUEUELEN 180
#define TCP_OVERSIZE 0 /* no room is kept behind what is written: the link takes a frame in pieces */
#define TCP_LISTEN_BACKLOG 1
#define TCP_DEFAULT_LISTEN_BACKLOG 128
#define LWIP_TCP_KEEPALIVE 1

/* A name server need not be at port 53: QEMU's user network has none that a test could ask. */
#ifdef __cplusplus
extern "C" uint16_t lwip_port_dns_port;
#else
extern uint16_t lwip_port_dns_port;
#endif
#define DNS_SERVER_PORT lwip_port_dns_port

/* lwIP's own applications. */
#define LWIP_HTTPD_CUSTOM_FILES 1
#define LWIP_HTTPD_DYNAMIC_FILE_READ 1
#define LWIP_HTTPD_DYNAMIC_HEADERS 1
#define HTTPD_LIMIT_SENDING_TO_2MSS 0
#define HTTPD_MAX_WRITE_LEN(pcb) ((uint16_t)(16 * altcp_mss(pcb))) /* of what it reads ahead of a connection */
#define HTTPD_MAX_RETRIES 60 /* times two seconds that a client may be silent */
#define HTTPD_FSDATA_FILE "no_files.h"
#define HTTPC_POLL_TIMEOUT 7200 /* half seconds of a whole transfer: the program looks for one that stands still */
