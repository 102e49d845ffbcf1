/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* ICMP errors, made in place from the packet that causes them.
 *
 * The quoted packet stays where it is and headers grow in front of it, so that a checksum that
 * the kernel has yet to fill in (CHECKSUM_PARTIAL) still points to its own header.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "checksum.h"
#include "drop.h"
#include "packet.h"
#include "scratch.h"
#include "settings.h"
#include "wire.h"

#define ERROR_TTL 64
#define ERROR_TOS 0xc0 /* internetwork control, as the kernel marks its own */

struct icmp_v4_head {
	struct iphdr ip;
	struct icmp_header icmp;
};

struct icmp_v6_head {
	struct ipv6hdr ip;
	struct icmp_header icmp;
};

/* Who says it: the address that was asked, seen from outside; inside, the host. */
static __always_inline struct addr error_source(const struct packet *pkt)
{
	struct addr source = pkt->ethertype == IS_IPV4 ? settings_addr(&settings.host_v4)
						       : settings_addr(&settings.host_v6);

	if (pkt->flags & PACKET_ON_WIRE)
		return pkt->dst;
	if (!addr_is_unspecified(&source))
		return source;
	return pkt->ethertype == IS_IPV4 ? settings_addr(&settings.gateway_v4)
					 : settings_addr(&settings.gateway_v6);
}

static __always_inline int icmp_v4_error(struct __sk_buff *skb, const struct packet *pkt,
					 int reason, __u32 quoted, __u32 sum)
{
	struct icmp_v4_head head = {
		.ip = { .version = 4, .ihl = 5, .tos = ERROR_TOS, .ttl = ERROR_TTL },
	};

	head.icmp.type = reason == DROP_TTL_EXCEEDED ? ICMP_TIME_EXCEEDED : ICMP_UNREACHABLE;
	if (reason == DROP_TOO_BIG) {
		head.icmp.code = ICMP_UNREACHABLE_TOO_BIG;
		head.icmp.rest = bpf_htonl(pkt->mtu);
	} else if (reason != DROP_TTL_EXCEEDED) {
		head.icmp.code =
			reason == DROP_REFUSED ? ICMP_UNREACHABLE_PORT : ICMP_UNREACHABLE_HOST;
	}
	head.icmp.checksum = checksum_fold(checksum_add(sum, &head.icmp, sizeof(head.icmp)));
	head.ip.protocol = IPPROTO_ICMP;
	head.ip.frag_off = bpf_htons(0x4000);
	head.ip.tot_len = bpf_htons(sizeof(head) + quoted);
	head.ip.saddr = error_source(pkt).words[3];
	head.ip.daddr = pkt->src.words[3];
	head.ip.check = checksum_fold(checksum_add(0, &head.ip, sizeof(head.ip)));
	return bpf_skb_store_bytes(skb, ETH_HLEN, &head, sizeof(head), 0);
}

static __always_inline int icmp_v6_error(struct __sk_buff *skb, const struct packet *pkt,
					 int reason, __u32 quoted, __u32 sum)
{
	struct icmp_v6_head head = { .ip = { .version = 6, .hop_limit = ERROR_TTL } };
	struct addr source = error_source(pkt);

	if (reason == DROP_TOO_BIG) {
		head.icmp.type = ICMPV6_TOO_BIG;
		head.icmp.rest = bpf_htonl(pkt->mtu);
	} else if (reason == DROP_TTL_EXCEEDED) {
		head.icmp.type = ICMPV6_TIME_EXCEEDED;
	} else {
		head.icmp.type = ICMPV6_UNREACHABLE;
		head.icmp.code = reason == DROP_REFUSED ? ICMPV6_UNREACHABLE_PORT
							: ICMPV6_UNREACHABLE_ADDRESS;
	}
	head.ip.nexthdr = IPPROTO_ICMPV6;
	head.ip.payload_len = bpf_htons(sizeof(head.icmp) + quoted);
	__builtin_memcpy(&head.ip.saddr, &source, sizeof(source));
	__builtin_memcpy(&head.ip.daddr, &pkt->src, sizeof(head.ip.daddr));
	sum = checksum_pseudo(&head.ip, sum);
	head.icmp.checksum = checksum_fold(checksum_add(sum, &head.icmp, sizeof(head.icmp)));
	return bpf_skb_store_bytes(skb, ETH_HLEN, &head, sizeof(head), 0);
}

/* Makes of the packet the error that its drop reason stands for. */
static __noinline int icmp_error(struct __sk_buff *skb, const struct packet *pkt, int reason)
{
	__u32 quoted = pkt->length < QUOTED ? pkt->length : QUOTED;
	bool v4 = pkt->ethertype == IS_IPV4;
	struct scratch *scratch = scratch_get();
	__u32 sum;
	int err;

	if (pkt->flags & (PACKET_LATER | PACKET_ICMP_ERROR))
		return -reason;
	if (!scratch || quoted > QUOTED)
		return -DROP_NO_REPLY;
	/* Two questions: made one of a difference, they tell the verifier of 6.1 nothing of the number. */
	asm volatile("" : "+r"(quoted));
	if (quoted < sizeof(struct iphdr))
		return -DROP_NO_REPLY;
	__builtin_memset(scratch->quoted, 0, sizeof(scratch->quoted));
	if (bpf_skb_change_tail(skb, ETH_HLEN + quoted, 0) ||
	    bpf_skb_load_bytes(skb, ETH_HLEN, scratch->quoted, quoted) ||
	    bpf_skb_adjust_room(skb, v4 ? sizeof(struct icmp_v4_head) : sizeof(struct icmp_v6_head),
				BPF_ADJ_ROOM_MAC, 0))
		return -DROP_NO_REPLY;
	sum = checksum_add(0, scratch->quoted, sizeof(scratch->quoted));
	if (v4)
		err = icmp_v4_error(skb, pkt, reason, quoted, sum);
	else
		err = icmp_v6_error(skb, pkt, reason, quoted, sum);
	return err ? -DROP_NO_REPLY : 0;
}
