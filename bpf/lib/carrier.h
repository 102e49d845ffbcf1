/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What carries a packet from another host, read as far as it is plain: just as we write it
 * (encapsulate.h), for us, and no router on its way has met congestion.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include "addr.h"
#include "cursor.h"
#include "packet.h"
#include "underlay.h"
#include "vxlan.h"

struct carrier {
	struct addr src;
	struct addr dst;
	__be16 ethertype;
	__be16 port; /* of UDP, the source: tells the flow */
	__be32 id;   /* as it stands in the header */
	__u32 size; /* up to what is carried; without its Ethernet header, but with the carried one's */
};

static __always_inline bool carrier_ipv4_is_plain(const struct __sk_buff *skb,
						  struct cursor *cursor, struct carrier *carrier)
{
	struct iphdr *ip = cursor_take(cursor, sizeof(*ip));

	if (!ip || ip->version != 4 || ip->ihl != 5 || ip->protocol != IPPROTO_UDP ||
	    ip->frag_off & bpf_htons(0x3fff) || (ip->tos & ECN_CE) == ECN_CE ||
	    bpf_ntohs(ip->tot_len) + ETH_HLEN != skb->len)
		return false;
	addr_map(&carrier->src, ip->saddr);
	addr_map(&carrier->dst, ip->daddr);
	carrier->size = VXLAN_OVER_IPV4;
	return true;
}

static __always_inline bool carrier_ipv6_is_plain(const struct __sk_buff *skb,
						  struct cursor *cursor, struct carrier *carrier)
{
	struct ipv6hdr *ip = cursor_take(cursor, sizeof(*ip));

	if (!ip || ip->version != 6 || ip->nexthdr != IPPROTO_UDP ||
	    (ip->flow_lbl[0] >> 4 & ECN_CE) == ECN_CE ||
	    bpf_ntohs(ip->payload_len) + sizeof(*ip) + ETH_HLEN != skb->len)
		return false;
	__builtin_memcpy(&carrier->src, &ip->saddr, sizeof(carrier->src));
	__builtin_memcpy(&carrier->dst, &ip->daddr, sizeof(carrier->dst));
	carrier->size = VXLAN_OVER_IPV6;
	return true;
}

/* Cheap: all that comes by the wire is asked, where there are other hosts. */
static __always_inline bool carrier_is_plain(const struct __sk_buff *skb,
					     const struct underlay *here, struct carrier *carrier)
{
	struct cursor cursor = cursor_at_start((struct __sk_buff *)skb);
	struct ethhdr *eth = cursor_take(&cursor, sizeof(*eth));
	struct vxlan_header *vxlan;
	struct udphdr *udp;
	bool plain = false;

	if (!eth)
		return false;
	carrier->ethertype = eth->h_proto;
	if (carrier->ethertype == IS_IPV4)
		plain = carrier_ipv4_is_plain(skb, &cursor, carrier);
	else if (carrier->ethertype == IS_IPV6)
		plain = carrier_ipv6_is_plain(skb, &cursor, carrier);
	if (!plain)
		return false;
	udp = cursor_take(&cursor, sizeof(*udp));
	vxlan = cursor_take(&cursor, sizeof(*vxlan));
	if (!udp || !vxlan || udp->dest != here->port || udp->check || vxlan->flags != VXLAN_HAS_ID)
		return false;
	carrier->port = udp->source;
	carrier->id = vxlan->id;
	return underlay_is_here(here, &carrier->dst);
}
