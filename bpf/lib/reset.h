/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* TCP's own refusal: a reset, made in place from the segment that causes it, and sent back to its sender.
 *
 * The header of the segment becomes that of the reset: where the kernel has yet to fill in a checksum
 * (CHECKSUM_PARTIAL), it does so there, and finds only the sum of what TCP sums up besides.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "checksum.h"
#include "drop.h"
#include "packet.h"
#include "scratch.h"

#define RESET_TTL 64

struct reset_v4_head {
	struct iphdr ip;
	struct tcphdr tcp;
};

struct reset_v6_head {
	struct ipv6hdr ip;
	struct tcphdr tcp;
};

/* RFC 9293, 3.10.7.1. False: what resets is not answered. */
static __always_inline bool reset_segment(struct __sk_buff *skb, const struct packet *pkt,
					  struct tcphdr *tcp)
{
	struct tcphdr refused;
	__u32 length = ETH_HLEN + pkt->length - pkt->payload;

	if (bpf_skb_load_bytes(skb, pkt->transport, &refused, sizeof(refused)) || refused.rst)
		return false;
	tcp->source = refused.dest;
	tcp->dest = refused.source;
	tcp->doff = sizeof(*tcp) / 4;
	tcp->rst = 1;
	tcp->ack = !refused.ack;
	if (refused.ack)
		tcp->seq = refused.ack_seq;
	else
		tcp->ack_seq =
			bpf_htonl(bpf_ntohl(refused.seq) + length + refused.syn + refused.fin);
	return true;
}

/* Whether the checksum is yet to be filled in: then a change of what it covers changes nothing in it. */
static __always_inline bool reset_is_partial(struct __sk_buff *skb, const struct packet *pkt)
{
	__u32 at = pkt->transport + offsetof(struct tcphdr, check);
	__be16 before = 0, after = 0;

	bpf_skb_load_bytes(skb, at, &before, sizeof(before));
	bpf_l4_csum_replace(skb, at, 0, 1, sizeof(before));
	bpf_skb_load_bytes(skb, at, &after, sizeof(after));
	return before == after;
}

/* `sum`: of what TCP sums up besides. */
static __always_inline void reset_checksum(struct tcphdr *tcp, __u32 sum, bool partial)
{
	tcp->check =
		partial ? ~checksum_fold(sum) : checksum_fold(checksum_add(sum, tcp, sizeof(*tcp)));
}

static __always_inline int reset_v4(struct __sk_buff *skb, const struct packet *pkt,
				    struct reset_v4_head *head, bool partial)
{
	__be32 tail = bpf_htonl(IPPROTO_TCP << 16 | sizeof(head->tcp));
	__u32 sum;

	head->ip.version = 4;
	head->ip.ihl = sizeof(head->ip) / 4;
	head->ip.tot_len = bpf_htons(sizeof(*head));
	head->ip.frag_off = bpf_htons(0x4000);
	head->ip.ttl = RESET_TTL;
	head->ip.protocol = IPPROTO_TCP;
	head->ip.saddr = pkt->dst.words[3];
	head->ip.daddr = pkt->src.words[3];
	head->ip.check = checksum_fold(checksum_add(0, &head->ip, sizeof(head->ip)));
	sum = checksum_add(0, &head->ip.saddr, 2 * sizeof(head->ip.saddr));
	reset_checksum(&head->tcp, checksum_add(sum, &tail, sizeof(tail)), partial);
	return bpf_skb_store_bytes(skb, ETH_HLEN, head, sizeof(*head), 0);
}

static __always_inline int reset_v6(struct __sk_buff *skb, const struct packet *pkt,
				    struct reset_v6_head *head, bool partial)
{
	head->ip.version = 6;
	head->ip.hop_limit = RESET_TTL;
	head->ip.nexthdr = IPPROTO_TCP;
	head->ip.payload_len = bpf_htons(sizeof(head->tcp));
	__builtin_memcpy(&head->ip.saddr, &pkt->dst, sizeof(head->ip.saddr));
	__builtin_memcpy(&head->ip.daddr, &pkt->src, sizeof(head->ip.daddr));
	reset_checksum(&head->tcp, checksum_pseudo(&head->ip, 0), partial);
	return bpf_skb_store_bytes(skb, ETH_HLEN, head, sizeof(*head), 0);
}

/* Makes a reset of the segment; not of one with options of IP or extension headers. Zero, or a reason as
 * a negative number.
 */
static __noinline int reset(struct __sk_buff *skb, const struct packet *pkt, int reason)
{
	struct scratch *scratch = scratch_get();
	struct reset_v4_head *v4;
	struct reset_v6_head *v6;
	bool old, partial;
	int err;

	if (!scratch || !pkt || pkt->flags & PACKET_LATER)
		return -reason;
	__builtin_memset(scratch->quoted, 0, sizeof(scratch->quoted));
	v4 = (struct reset_v4_head *)scratch->quoted;
	v6 = (struct reset_v6_head *)scratch->quoted;
	old = pkt->ethertype == IS_IPV4;
	if (pkt->transport != ETH_HLEN + (old ? sizeof(v4->ip) : sizeof(v6->ip)) ||
	    !reset_segment(skb, pkt, old ? &v4->tcp : &v6->tcp))
		return -reason;
	partial = reset_is_partial(skb, pkt);
	if (bpf_skb_change_tail(skb, pkt->transport + sizeof(struct tcphdr), 0))
		return -DROP_NO_REPLY;
	err = old ? reset_v4(skb, pkt, v4, partial) : reset_v6(skb, pkt, v6, partial);
	return err ? -DROP_NO_REPLY : 0;
}
