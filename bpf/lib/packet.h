/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What a frame says of itself. Filled by the parser (parse.h), asked by everybody. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <bpf/bpf_endian.h>
#include "addr.h"
#include "mac.h"
#include "wire.h"

#define IS_IPV4		  bpf_htons(ETH_P_IP)
#define IS_IPV6		  bpf_htons(ETH_P_IPV6)
#define IS_ARP		  bpf_htons(ETH_P_ARP)

#define PACKET_FRAGMENT	  1   /* one of several */
#define PACKET_LATER	  2   /* not the first of them: has no transport header */
#define PACKET_WHOLE	  4   /* must not be fragmented on its way: IPv4 with DF, all IPv6 */
#define PACKET_ICMP_ERROR 8   /* never to be answered by an error */
#define PACKET_ON_WIRE	  16  /* came in by an uplink, not from a container */
#define PACKET_OPENS	  32  /* TCP: the first packet of a connection */
#define PACKET_ACCEPTS	  64  /* TCP: the first answer to that */
#define PACKET_REMOTE	  128 /* came from another host */
#define PACKET_CUT	  256 /* a later fragment, whose first the host's stack has, to cut it */
#define PACKET_LED	  512 /* to a backend: the addresses noted here are those that it came with */
#define PACKET_CLOSES	  1024 /* TCP: its sender has no more to say */
#define PACKET_RESETS	  2048 /* TCP: the connection is no more */
#define PACKET_ACKS	  4096 /* TCP: it answers something */
#define PACKET_TURNS	  (PACKET_OPENS | PACKET_ACCEPTS | PACKET_CLOSES | PACKET_RESETS)

#define GSO_BY_FRAGS	  0xffff /* SCTP's: its pieces were cut to the sender's MTU */

struct packet {
	struct addr src;
	struct addr dst;
	struct mac src_mac;
	struct mac dst_mac;
	__be16 ethertype;
	__be16 src_port; /* ICMP: the type; 0 where the protocol has no ports */
	__be16 dst_port; /* ICMP: the code */
	__u16 transport; /* offset of the transport header from the frame's start */
	__u16 payload;	 /* offset of what follows it */
	__u8 protocol;
	__u8 ttl;
	__u32 flags;
	__u32 length;		/* of layer 3, as its header says */
	__u32 mtu;		/* that it does not fit, where it is refused for that */
	__be32 fragment;	/* number of the packet that this is a part of */
	__u8 fragment_protocol; /* as the fragments name it; extension headers may follow */
	__u32 ingress; /* number of the host that was asked, where it came so carried (ingress.h) */
};

/* Neighbour and router discovery: for this link, never forwarded. */
static __always_inline bool packet_is_neighbour(const struct packet *pkt)
{
	__u16 type = bpf_ntohs(pkt->src_port);

	return pkt->protocol == IPPROTO_ICMPV6 && pkt->ethertype == IS_IPV6 &&
	       !(pkt->flags & PACKET_LATER) && type >= ND_ROUTER_SOLICITATION &&
	       type <= ND_REDIRECT;
}

/* A packet that the kernel has yet to cut (GSO) counts by its pieces. What follows a fragment that did
 * not fit does not either: the stack may put a datagram together before it cuts it, so it gets all.
 */
static __always_inline bool packet_fits(const struct __sk_buff *skb, const struct packet *pkt,
					__u32 mtu)
{
	__u32 size = skb->gso_size;

	if (pkt->flags & PACKET_CUT)
		return false;
	if (pkt->length <= mtu || size == GSO_BY_FRAGS)
		return true;
	return size && pkt->payload - ETH_HLEN + size <= mtu;
}
