/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The short cut: what another host has encapsulated for an endpoint of ours goes from the wire into
 * its container, and what we relay from the wire to the next host, past the host's stack and the
 * overlay's device. That is for packets about which there is nothing to say: any other one goes on
 * as it came, and from_overlay judges it. So nothing is refused here.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_helpers.h>
#include "arrive.h"
#include "carrier.h"
#include "convey.h"
#include "cursor.h"
#include "drop.h"
#include "encapsulate.h"
#include "member.h"
#include "next_hop.h"
#include "packet.h"
#include "parse.h"
#include "remote.h"
#include "rewrite.h"
#include "train.h"
#include "underlay.h"
#include "vxlan.h"
#include "way.h"

#define NO_SHORTCUT	 0x10002 /* no verdict: the packet is as it was */
#define SHORTCUT_INGRESS 0x10005 /* no verdict: there may be one of shortcut_ingress.h */

#define ROOM_DECAP_IPV4 \
	(1 << 7) /* BPF_F_ADJ_ROOM_DECAP_L3_*, which this kernel's headers may not */
#define ROOM_DECAP_IPV6 (1 << 8) /* have: without it such packets take no short cut */

/* Without its carrier: the frame's own Ethernet header takes the place of the carried one. */
static __always_inline int decapsulate(struct __sk_buff *skb, const struct carrier *outer,
				       const struct packet *pkt)
{
	struct cursor cursor;
	struct ethhdr *eth;
	__u64 flags = 0;

	if (outer->ethertype != pkt->ethertype)
		flags = pkt->ethertype == IS_IPV4 ? ROOM_DECAP_IPV4 : ROOM_DECAP_IPV6;
	if (bpf_skb_adjust_room(skb, -(__s32)outer->size, BPF_ADJ_ROOM_MAC, flags))
		return NO_SHORTCUT;
	cursor = cursor_at_start(skb);
	eth = cursor_take(&cursor, sizeof(*eth));
	if (!eth)
		return -DROP_TRUNCATED;
	eth->h_proto = pkt->ethertype;
	return 0;
}

static __always_inline int shortcut_in(struct __sk_buff *skb, const struct carrier *outer,
				       struct packet *pkt, const struct remote *src,
				       const struct endpoint *dst)
{
	int err;

	if (!arrive_is_plain(skb, pkt, src, dst) || train_is(skb, outer->port))
		return NO_SHORTCUT;
	err = decapsulate(skb, outer, pkt);
	return err ? err : arrive_at_once(skb, pkt, dst);
}

/* The same carrier, from us to the next hop. */
static __always_inline int carrier_readdress(struct __sk_buff *skb, const struct packet *pkt,
					     const struct way *way)
{
	struct cursor cursor = cursor_at_start(skb);
	struct ethhdr *eth = cursor_take(&cursor, sizeof(*eth));
	bool v4 = addr_is_mapped(&way->to);
	struct iphdr *old = NULL;
	struct ipv6hdr *ip = NULL;
	int err;

	if (v4)
		old = cursor_take(&cursor, sizeof(*old));
	else
		ip = cursor_take(&cursor, sizeof(*ip));
	if (!eth || !(v4 ? (void *)old : (void *)ip) || !cursor_take(&cursor, VXLAN_BEHIND_IP))
		return -DROP_TRUNCATED;
	err = carried_hop(&cursor, pkt->ethertype, true);
	if (err < 0)
		return err;
	if (v4)
		carrier_ipv4(old, way, bpf_ntohs(old->tot_len), old->tos & ECN_CE);
	else
		carrier_ipv6(ip, way, sizeof(*ip) + bpf_ntohs(ip->payload_len),
			     ip->flow_lbl[0] >> 4 & ECN_CE);
	rewrite_macs(eth, &way->next, &way->own);
	return 0;
}

static __always_inline int shortcut_onward(struct __sk_buff *skb, const struct carrier *outer,
					   const struct packet *pkt, __u32 host)
{
	struct way *way = way_to(skb, pkt, host);
	int err;

	if ((pkt->flags & (PACKET_FRAGMENT | PACKET_WHOLE)) == PACKET_FRAGMENT)
		return NO_SHORTCUT; /* its first may be one that the stack has to cut */
	if (!way || !(way->flags & NEXT_HOP_OVERLAY) || pkt->ttl <= 1 ||
	    addr_is_mapped(&way->to) != (outer->ethertype == IS_IPV4))
		return NO_SHORTCUT;
	if (!packet_fits(skb, pkt, way->mtu - vxlan_overhead(&way->to)))
		return NO_SHORTCUT;
	way->sent += skb->len - outer->size; /* as convey counts it */
	err = carrier_readdress(skb, pkt, way);
	return err ? err : convey_out(way);
}

static __noinline int shortcut(struct __sk_buff *skb)
{
	const struct endpoint *dst;
	const struct remote *src, *remote;
	const struct underlay *here = underlay_find();
	struct carrier outer = {};
	struct packet pkt = {};

	if (!here || !carrier_is_plain(skb, here, &outer))
		return NO_SHORTCUT;
	if (outer.id != vxlan_id(here))
		return SHORTCUT_INGRESS;
	if (parse_frame(skb, &pkt, outer.size))
		return NO_SHORTCUT;
	if (pkt.ethertype == IS_ARP || packet_is_neighbour(&pkt) || addr_is_group(&pkt.dst))
		return NO_SHORTCUT;
	src = remote_find(&pkt.src);
	if (member_may_send(&outer.src, src) || !src)
		return NO_SHORTCUT;
	dst = endpoint_find(&pkt.dst);
	if (dst)
		return shortcut_in(skb, &outer, &pkt, src, dst);
	remote = remote_find(&pkt.dst);
	return remote ? shortcut_onward(skb, &outer, &pkt, remote_path(remote)) : NO_SHORTCUT;
}
