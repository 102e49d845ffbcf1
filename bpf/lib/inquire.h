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
#define INQUIRE_REST  (ETH_HLEN + sizeof(struct ipv6hdr) + 20)

#define INQUIRE_TICKS 32 /* from one question to the next: 0.3 s; the kernel repeats its own */

/* The packet is lost, for that reason, and tells nobody so. A verdict, where it is counted already, or
 * the reason: it is not time to ask, or the kernel will not have it so.
 */
static __always_inline int inquire(struct __sk_buff *skb, __be16 ethertype, struct way *way,
				   enum drop_reason reason)
{
	__u32 at = ETH_HLEN + sizeof(struct udphdr);
	__be32 nothing = 0; /* instead of VXLAN_HAS_ID */

	if (way->tick - way->asked < INQUIRE_TICKS)
		return -reason;
	way->asked = way->tick;
	at += addr_is_mapped(&way->to) ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	if (bpf_skb_change_tail(skb, INQUIRE_REST, 0) ||
	    encapsulate(skb, ethertype, way, way->id, false) ||
	    bpf_skb_store_bytes(skb, at, &nothing, sizeof(nothing), 0))
		return -reason;
	drop_count(skb, reason);
	return bpf_redirect_neigh(way->ifindex, NULL, 0, 0);
}
