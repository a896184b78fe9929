/* SPDX-License-Identifier: MIT
 * The parts of lwIP in the guests: IPv4, TCP, UDP, DHCP and DNS on one processor without an operating system. lwip/opt.h
 * explains each option. */
#pragma once

#include <stdint.h>

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0 /* no part of lwIP runs in an interrupt */
#define LWIP_SOCKET 0
#define LWIP_NETCONN 0
#define LWIP_RAW 0
#define LWIP_IPV6 0
#define LWIP_STATS 0
#define LWIP_DHCP 1
#define DHCP_DOES_ARP_CHECK 0 /* it delays every start by a second */
#define LWIP_DNS 1
#define LWIP_HAVE_LOOPIF 0
#define LWIP_SINGLE_NETIF 1 /* 0 for several interfaces */
#define IP_FRAG 0           /* fragments are neither sent nor received */
#define IP_REASSEMBLY 0
#define LWIP_NOASSERT 1

/* Required by lwip_netif.hpp. */
#define LWIP_SUPPORT_CUSTOM_PBUF 1
#define LWIP_CHECKSUM_CTRL_PER_NETIF 1
#define LWIP_NETIF_LINK_CALLBACK 1
#define LWIP_NETIF_STATUS_CALLBACK 1

/* Eighty connections with full windows. All of this memory is in .bss. */
#define MEM_ALIGNMENT 8
#define MEM_SIZE (16 * 1024 * 1024)
#define MEMP_NUM_PBUF 2048 /* pbufs that refer to the program's memory */
#define MEMP_NUM_TCP_PCB 96
#define MEMP_NUM_TCP_PCB_LISTEN 4
#define MEMP_NUM_TCP_SEG 4096
#define MEMP_NUM_UDP_PCB 8
#define PBUF_POOL_SIZE 128 /* copied frames, when the link can lend no more */
#define PBUF_POOL_BUFSIZE 1536
#define TCP_MSS 1460
#define TCP_WND (44 * TCP_MSS)
#define TCP_SND_BUF (44 * TCP_MSS)
#define TCP_SND_QUEUELEN 180
#define TCP_OVERSIZE 0 /* no spare room after written data: the link takes a frame in pieces */
#define TCP_LISTEN_BACKLOG 1
#define TCP_DEFAULT_LISTEN_BACKLOG 128
#define LWIP_TCP_KEEPALIVE 1

/* Name servers at any port: that of QEMU's user network is of no use to a test. */
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
#define HTTPD_MAX_WRITE_LEN(pcb) ((uint16_t)(16 * altcp_mss(pcb))) /* written to a connection at once */
#define HTTPD_MAX_RETRIES 60 /* in units of two seconds: the silence after which a client is dropped */
#define HTTPD_FSDATA_FILE "no_files.h"
#define HTTPC_POLL_TIMEOUT 7200 /* half seconds of a whole transfer: the program itself detects stalls */
