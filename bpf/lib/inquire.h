/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Only the kernel asks who has an address on a link, and only when it has a packet to send there. So
 * one that cannot go on becomes a carrier that carries nothing: the kernel asks, sends it, and the
 * neighbour's device of the overlay drops it. No ICMP tells of it, and no firewall of ours needs more.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include "drop.h"
#include "encapsulate.h"
#include "underlay.h"
#include "vxlan.h"

/* Bytes that stay of it: less is not to be had of TCP over IPv6, whose checksum may be missing yet. */
#define INQUIRE_REST (ETH_HLEN + sizeof(struct ipv6hdr) + 20)

/* The packet is lost. A verdict, or a reason: the kernel will not have it so. */
static __always_inline int inquire(struct __sk_buff *skb, __be16 ethertype, const struct way *way)
{
	__u32 at = ETH_HLEN + sizeof(struct udphdr);
	__be32 nothing = 0; /* instead of VXLAN_HAS_ID */

	at += addr_is_mapped(&way->to) ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	if (bpf_skb_change_tail(skb, INQUIRE_REST, 0) || encapsulate(skb, ethertype, way, false) ||
	    bpf_skb_store_bytes(skb, at, &nothing, sizeof(nothing), 0))
		return -DROP_NO_REPLY;
	return bpf_redirect_neigh(way->ifindex, NULL, 0, 0);
}
