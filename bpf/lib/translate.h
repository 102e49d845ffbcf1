/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Other addresses and ports for a packet, with checksums that fit. */
#pragma once

#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include "cursor.h"
#include "drop.h"
#include "flow.h"
#include "packet.h"

#define CSUM_IPV6   (1 << 7) /* BPF_F_IPV6, which this kernel's headers may not have */
#define CSUM_EINVAL 22

/* A checksum of IPv4's header, after its words have changed by this difference (RFC 1624). */
static __always_inline __u16 checksum_update(__u16 checksum, __u32 difference)
{
	__u64 sum = (__u64)(__u16)~checksum + difference;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* The addresses stand in the checksum of layer 4, and nothing in layer 3 of IPv6 makes up for
 * that: kernels that can be told so are (6.16, and those that took it over).
 */
static __always_inline int checksum_addresses(struct __sk_buff *skb, const struct packet *pkt,
					      __u32 at, __u32 difference, __u64 flags)
{
	int err;

	flags |= BPF_F_PSEUDO_HDR;
	if (pkt->ethertype == IS_IPV4)
		return bpf_l4_csum_replace(skb, at, 0, difference, flags);
	err = bpf_l4_csum_replace(skb, at, 0, difference, flags | CSUM_IPV6);
	return err == -CSUM_EINVAL ? bpf_l4_csum_replace(skb, at, 0, difference, flags) : err;
}

/* Ports, and layer 4's checksum. A later fragment has neither. */
static __always_inline int translate_transport(struct __sk_buff *skb, const struct packet *pkt,
					       const struct flow *to, __u32 difference)
{
	__u32 at = pkt->transport, ports = at, old, new;
	__u64 flags = 0;

	if (pkt->flags & PACKET_LATER || !flow_has_ports(pkt->protocol))
		return 0;
	if (pkt->protocol == IPPROTO_TCP) {
		at += offsetof(struct tcphdr, check);
	} else {
		at += offsetof(struct udphdr, check);
		flags = BPF_F_MARK_MANGLED_0;
	}
	if (checksum_addresses(skb, pkt, at, difference, flags))
		return -DROP_TRUNCATED;
	old = (__u32)pkt->dst_port << 16 | pkt->src_port;
	new = (__u32)to->dst_port << 16 | to->src_port;
	if (old == new)
		return 0;
	difference = bpf_csum_diff(&old, sizeof(old), &new, sizeof(new), 0);
	if (bpf_l4_csum_replace(skb, at, 0, difference, flags) ||
	    bpf_skb_store_bytes(skb, ports, &new, sizeof(new), 0))
		return -DROP_TRUNCATED;
	return 0;
}

static __always_inline int translate_addresses(struct __sk_buff *skb, const struct packet *pkt,
					       const struct flow *to, __u32 difference)
{
	struct cursor cursor = cursor_at_start(skb);

	if (!cursor_take(&cursor, ETH_HLEN))
		return -DROP_TRUNCATED;
	if (pkt->ethertype == IS_IPV4) {
		struct iphdr *ip = cursor_take(&cursor, sizeof(*ip));

		if (!ip)
			return -DROP_TRUNCATED;
		ip->saddr = to->src.words[3];
		ip->daddr = to->dst.words[3];
		ip->check = checksum_update(ip->check, difference);
	} else {
		struct ipv6hdr *ip = cursor_take(&cursor, sizeof(*ip));

		if (!ip)
			return -DROP_TRUNCATED;
		__builtin_memcpy(&ip->saddr, &to->src, sizeof(to->src));
		__builtin_memcpy(&ip->daddr, &to->dst, sizeof(to->dst));
	}
	return 0;
}

/* The difference that two pairs of addresses make in any checksum. */
static __always_inline __u32 translate_difference(const struct packet *pkt, const struct flow *to)
{
	return bpf_csum_diff((__be32 *)&pkt->src, 2 * sizeof(pkt->src), (__be32 *)&to->src,
			     2 * sizeof(to->src), 0);
}

/* The packet as the flow says that it goes on. */
static __always_inline int translate(struct __sk_buff *skb, const struct packet *pkt,
				     const struct flow *to)
{
	__u32 difference = translate_difference(pkt, to);
	int err = translate_transport(skb, pkt, to, difference);

	return err ? err : translate_addresses(skb, pkt, to, difference);
}
