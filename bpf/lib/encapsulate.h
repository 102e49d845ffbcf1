/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A packet into a packet of the underlay, by our own hand: the kernel's device would take it through
 * a route's lookup and netfilter once more. What the kernel has yet to cut (GSO) it then cuts with
 * all these headers.
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
#include <bpf/bpf_helpers.h>
#include "checksum.h"
#include "cursor.h"
#include "drop.h"
#include "packet.h"
#include "rewrite.h"
#include "settings.h"
#include "underlay.h"
#include "vxlan.h"

#define ENCAPSULATE_NOT 0x10001 /* the kernel will not have it so; the packet is as it was */

/* The kernel takes what is between UDP and the carried frame (VXLAN's header) for the tunnel's. */
#define ENCAPSULATE                                               \
	(BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | \
	 BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH)

static __always_inline __u16 checksum_ipv4(const struct iphdr *ip)
{
	const __u16 *words = (const __u16 *)ip;
	__u32 sum = 0;
	int i;

#pragma unroll
	for (i = 0; i < (int)sizeof(*ip) / 2; i++)
		sum += words[i];
	return checksum_fold(sum);
}

static __always_inline void carrier_ipv4(struct iphdr *ip, const struct way *way, __u32 length,
					 __u8 ecn)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = sizeof(*ip) / 4;
	ip->tos = ecn;
	ip->tot_len = bpf_htons(length);
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = VXLAN_TTL;
	ip->protocol = IPPROTO_UDP;
	ip->saddr = way->from.words[3];
	ip->daddr = way->to.words[3];
	ip->check = checksum_ipv4(ip);
}

static __always_inline void carrier_ipv6(struct ipv6hdr *ip, const struct way *way, __u32 length,
					 __u8 ecn)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 6;
	ip->flow_lbl[0] = ecn << 4;
	ip->payload_len = bpf_htons(length - sizeof(*ip));
	ip->nexthdr = IPPROTO_UDP;
	ip->hop_limit = VXLAN_TTL;
	__builtin_memcpy(&ip->saddr, &way->from, sizeof(way->from));
	__builtin_memcpy(&ip->daddr, &way->to, sizeof(way->to));
}

/* Behind the carrier's IP header, up to what is carried. */
static __always_inline int carrier_tail(struct cursor *cursor, const struct way *way, __be32 id,
					__u32 hash, __u32 length, __be16 ethertype)
{
	struct mac to = settings_mac(&settings.overlay_mac);
	struct mac from = settings_mac(&settings.gateway_mac);
	struct udphdr *udp = cursor_take(cursor, VXLAN_BEHIND_IP);
	struct vxlan_header *vxlan;
	struct ethhdr *eth;

	if (!udp)
		return -DROP_TRUNCATED;
	vxlan = (struct vxlan_header *)(udp + 1);
	eth = (struct ethhdr *)(vxlan + 1);
	udp->source = bpf_htons(VXLAN_PORTS | (hash & ~VXLAN_PORTS));
	udp->dest = way->port;
	udp->len = bpf_htons(length);
	udp->check = 0;
	vxlan->flags = VXLAN_HAS_ID;
	vxlan->id = id;
	rewrite_macs(eth, &to, &from);
	eth->h_proto = ethertype;
	return 0;
}

/* As a router passes it on, if it does. The congestion bits that the carrier is to have. */
static __always_inline int carried_hop(struct cursor *cursor, __be16 ethertype, bool hop)
{
	__u8 ecn;

	if (ethertype == IS_IPV4) {
		struct iphdr *ip = cursor_take(cursor, sizeof(*ip));

		if (!ip)
			return -DROP_TRUNCATED;
		if (hop)
			rewrite_ttl(ip);
		ecn = ip->tos & ECN_CE;
	} else {
		struct ipv6hdr *ip = cursor_take(cursor, sizeof(*ip));

		if (!ip)
			return -DROP_TRUNCATED;
		if (hop)
			ip->hop_limit--;
		ecn = ip->flow_lbl[0] >> 4 & ECN_CE;
	}
	return ecn == ECN_CE ? ECN_ECT0 : ecn;
}

/* All the headers, into the room that was made for them. */
static __always_inline int carrier_write(struct __sk_buff *skb, __be16 ethertype,
					 const struct way *way, __be32 id, __u32 hash, bool hop)
{
	struct cursor cursor = cursor_at_start(skb);
	bool v4 = addr_is_mapped(&way->to);
	__u32 size = v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	struct ethhdr *eth = cursor_take(&cursor, sizeof(*eth) + size);
	__u32 length = skb->len - ETH_HLEN;
	void *ip = eth + 1;
	int err, ecn;

	if (!eth)
		return -DROP_TRUNCATED;
	err = carrier_tail(&cursor, way, id, hash, length - size, ethertype);
	if (err)
		return err;
	ecn = carried_hop(&cursor, ethertype, hop);
	if (ecn < 0)
		return ecn;
	if (v4)
		carrier_ipv4(ip, way, length, ecn);
	else
		carrier_ipv6(ip, way, length, ecn);
	rewrite_macs(eth, &way->next, &way->own);
	eth->h_proto = v4 ? IS_IPV4 : IS_IPV6;
	return 0;
}

/* `id`: as it stands in the header. `hop`: it is passed on as by a router. Zero, ENCAPSULATE_NOT or a
 * reason. Global, as all of it once is enough for the verifier (parse.h).
 */
__noinline int encapsulate(struct __sk_buff *skb, __be16 ethertype, const struct way *way,
			   __be32 id, bool hop)
{
	__u32 hash = bpf_get_hash_recalc(skb);
	int err;

	if (!way)
		return -DROP_NO_PATH;
	if (addr_is_mapped(&way->to))
		err = bpf_skb_adjust_room(skb, VXLAN_OVER_IPV4, BPF_ADJ_ROOM_MAC,
					  ENCAPSULATE | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4);
	else
		err = bpf_skb_adjust_room(skb, VXLAN_OVER_IPV6, BPF_ADJ_ROOM_MAC,
					  ENCAPSULATE | BPF_F_ADJ_ROOM_ENCAP_L3_IPV6);
	return err ? ENCAPSULATE_NOT : carrier_write(skb, ethertype, way, id, hash, hop);
}
