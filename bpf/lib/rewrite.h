/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Changes to a packet that goes on: MACs and TTL. */
#pragma once

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include "cursor.h"
#include "drop.h"
#include "packet.h"
#include "settings.h"

static __always_inline void rewrite_macs(struct ethhdr *eth, const struct mac *to,
					 const struct mac *from)
{
	__builtin_memcpy(eth->h_dest, to, sizeof(*to));
	__builtin_memcpy(eth->h_source, from, sizeof(*from));
}

/* The checksum without the TTL's one, incrementally (RFC 1141). */
static __always_inline void rewrite_ttl(struct iphdr *ip)
{
	__u32 sum = ip->check + bpf_htons(0x0100);

	ip->check = sum + (sum >= 0xffff);
	ip->ttl--;
}

/* As a router does: one hop less, new MACs. */
static __always_inline int rewrite_hop_from(struct __sk_buff *skb, const struct packet *pkt,
					    const struct mac *to, const struct mac *from)
{
	struct cursor cursor = cursor_at_start(skb);
	struct ethhdr *eth = cursor_take(&cursor, sizeof(*eth));

	if (!eth)
		return -DROP_TRUNCATED;
	if (pkt->ethertype == IS_IPV4) {
		struct iphdr *ip = cursor_take(&cursor, sizeof(*ip));

		if (!ip)
			return -DROP_TRUNCATED;
		rewrite_ttl(ip);
	} else {
		struct ipv6hdr *ip = cursor_take(&cursor, sizeof(*ip));

		if (!ip)
			return -DROP_TRUNCATED;
		ip->hop_limit--;
	}
	rewrite_macs(eth, to, from);
	return 0;
}

/* To an endpoint, from its router. */
static __always_inline int rewrite_hop(struct __sk_buff *skb, const struct packet *pkt,
				       const struct mac *to)
{
	struct mac gateway = settings_mac(&settings.gateway_mac);

	return rewrite_hop_from(skb, pkt, to, &gateway);
}

static __always_inline int rewrite_link(struct __sk_buff *skb, const struct mac *to,
					const struct mac *from)
{
	struct cursor cursor = cursor_at_start(skb);
	struct ethhdr *eth = cursor_take(&cursor, sizeof(*eth));

	if (!eth)
		return -DROP_TRUNCATED;
	rewrite_macs(eth, to, from);
	return 0;
}

/* What the host's stack has routed lacks only the MAC. */
static __always_inline int rewrite_receiver(struct __sk_buff *skb, const struct mac *to)
{
	struct mac gateway = settings_mac(&settings.gateway_mac);

	return rewrite_link(skb, to, &gateway);
}
