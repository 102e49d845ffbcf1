/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A packet to another host: encapsulated to the next hop, or as it is where that host is on a link
 * with us and may have it so. No helper that redirects checks an MTU: here it is.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "drop.h"
#include "encapsulate.h"
#include "inquire.h"
#include "next_hop.h"
#include "packet.h"
#include "rewrite.h"
#include "route.h"
#include "underlay.h"
#include "vxlan.h"
#include "way.h"

/* No verdict: the packet is as it was. It is to be cut, or the kernel will not have it encapsulated
 * by us: the host's stack does the one, its device of the overlay the other.
 */
#define CONVEY_NOT ENCAPSULATE_NOT

/* As it is to a neighbour that is not known yet: the kernel asks for it, and sends the packet then. It
 * looks for the next hop among those of the packet's own family: one of the other is only asked for, and
 * that packet is lost.
 */
static __always_inline int convey_asking(struct __sk_buff *skb, const struct packet *pkt,
					 struct way *way)
{
	struct bpf_redir_neigh next = {};

	if (addr_is_mapped(&way->to) != (pkt->ethertype == IS_IPV4))
		return inquire(skb, pkt->ethertype, way, DROP_NO_MAC);
	if (addr_is_mapped(&way->to)) {
		next.nh_family = FAMILY_V4;
		next.ipv4_nh = way->to.words[3];
	} else {
		next.nh_family = FAMILY_V6;
		__builtin_memcpy(next.ipv6_nh, &way->to, sizeof(way->to));
	}
	return bpf_redirect_neigh(way->ifindex, &next, sizeof(next), 0);
}

static __always_inline int convey_direct(struct __sk_buff *skb, const struct packet *pkt,
					 struct way *way, bool hop)
{
	int err = hop ? rewrite_hop_from(skb, pkt, &way->next, &way->own)
		      : rewrite_link(skb, &way->next, &way->own);

	if (err)
		return err;
	return way->known ? bpf_redirect(way->ifindex, 0) : convey_asking(skb, pkt, way);
}

/* Where the neighbour is not known yet, the kernel asks for it and sends the packet then. */
static __always_inline int convey_out(const struct way *way)
{
	return way->known ? bpf_redirect(way->ifindex, 0)
			  : bpf_redirect_neigh(way->ifindex, NULL, 0, 0);
}

static __always_inline int convey_encapsulated(struct __sk_buff *skb, const struct packet *pkt,
					       const struct way *way, bool hop)
{
	int err = encapsulate(skb, pkt->ethertype, way, vxlan_id_of(way->id, pkt->ingress), hop);

	return err ? err : convey_out(way);
}

/* By this path, a key of `paths`. `hop`: passed on as by a router, not sent by this host itself. What
 * we relay is carried: as it is, its end would expect it from the very host of its source
 * (arrive_direct.h). So is what belongs to a port that was published on another host, and no stack
 * cuts it. A verdict, CONVEY_NOT or a reason.
 */
static __noinline int convey(struct __sk_buff *skb, struct packet *pkt, __u32 path, bool hop)
{
	struct way *way = way_to(skb, pkt, path);
	bool direct, carry, cut;

	if (!way || !pkt)
		return -DROP_NO_PATH;
	carry = way->flags & NEXT_HOP_OVERLAY;
	direct = !(pkt->flags & PACKET_REMOTE || pkt->ingress) && way->flags & NEXT_HOP_DIRECT &&
		 way->via == (path & ~PATH_LATENCY) && way->direct && (way->known || !carry);
	if (!direct && !carry)
		return -DROP_NO_PATH;
	way->sent += skb->len;
	pkt->mtu = direct ? way->mtu : way->mtu - vxlan_overhead(&way->to);
	cut = !(pkt->flags & PACKET_WHOLE || pkt->ingress);
	if (!packet_fits(skb, pkt, pkt->mtu))
		return cut ? CONVEY_NOT : -DROP_TOO_BIG;
	return direct ? convey_direct(skb, pkt, way, hop) : convey_encapsulated(skb, pkt, way, hop);
}
