/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* TCP's reset, made in place from the segment that is refused (RFC 9293, 3.10.7.1).
 *
 * The header stays where it is: of a segment from a container the kernel may have yet to fill in the
 * checksum (CHECKSUM_PARTIAL), which then holds only what the addresses and the length make up. Helpers
 * that change checksums know which of the two it is; we do not.
 */
#pragma once

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

#define RESET_TTL 64

static __always_inline int reset_v4(struct __sk_buff *skb, const struct packet *pkt)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.tot_len = bpf_htons(sizeof(ip) + sizeof(struct tcphdr)),
		.frag_off = bpf_htons(0x4000),
		.ttl = RESET_TTL,
		.protocol = IPPROTO_TCP,
		.saddr = pkt->dst.words[3],
		.daddr = pkt->src.words[3],
	};

	ip.check = checksum_fold(checksum_add(0, &ip, sizeof(ip)));
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0);
}

static __always_inline int reset_v6(struct __sk_buff *skb, const struct packet *pkt)
{
	struct ipv6hdr ip = {
		.version = 6,
		.payload_len = bpf_htons(sizeof(struct tcphdr)),
		.nexthdr = IPPROTO_TCP,
		.hop_limit = RESET_TTL,
	};

	__builtin_memcpy(&ip.saddr, &pkt->dst, sizeof(ip.saddr));
	__builtin_memcpy(&ip.daddr, &pkt->src, sizeof(ip.daddr));
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0);
}

/* What the segment asks for: the number that the sender waits for, or all of it acknowledged. */
static __always_inline void reset_numbers(const struct packet *pkt, const struct tcphdr *asked,
					  struct tcphdr *tcp)
{
	__u32 length = ETH_HLEN + pkt->length - pkt->payload + asked->syn + asked->fin;

	tcp->source = asked->dest;
	tcp->dest = asked->source;
	tcp->doff = sizeof(*tcp) / 4;
	tcp->rst = 1;
	if (asked->ack) {
		tcp->seq = asked->ack_seq;
		return;
	}
	tcp->ack = 1;
	tcp->ack_seq = bpf_htonl(bpf_ntohl(asked->seq) + length);
}

/* The header with its checksum. One that is yet to be filled in is right already but for the length; what
 * else is different is told of one that is whole, and passed over where it is not.
 */
static __always_inline bool reset_header(struct __sk_buff *skb, const struct packet *pkt,
					 struct tcphdr *tcp)
{
	__be32 was = bpf_htonl(ETH_HLEN + pkt->length - pkt->transport);
	__be32 rest[2] = { bpf_htonl(sizeof(*tcp)), bpf_htonl(IPPROTO_TCP) };
	__u32 at = pkt->transport + offsetof(struct tcphdr, check), sum;
	__u16 whole;

	sum = checksum_add(0, (void *)&pkt->src, 2 * sizeof(pkt->src));
	sum = checksum_add(sum, rest, sizeof(rest));
	whole = checksum_fold(checksum_add(sum, tcp, sizeof(*tcp)));
	if (bpf_l4_csum_replace(skb, at, was, rest[0], BPF_F_PSEUDO_HDR | sizeof(was)) ||
	    bpf_skb_load_bytes(skb, at, &tcp->check, sizeof(tcp->check)) ||
	    bpf_skb_store_bytes(skb, pkt->transport, tcp, sizeof(*tcp), 0))
		return false;
	return !bpf_l4_csum_replace(skb, at, 0, (__u16)~whole + tcp->check, 0);
}

/* A reset is never answered by one. What has options or more headers before TCP's is dropped. */
static __noinline int reset(struct __sk_buff *skb, const struct packet *pkt)
{
	bool v4 = pkt->ethertype == IS_IPV4;
	__u32 plain = ETH_HLEN + (v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	struct tcphdr asked, tcp = {};

	if (pkt->flags & PACKET_FRAGMENT || pkt->transport != plain ||
	    bpf_skb_load_bytes(skb, plain, &asked, sizeof(asked)) || asked.rst)
		return -DROP_REFUSED;
	reset_numbers(pkt, &asked, &tcp);
	if (bpf_skb_change_tail(skb, plain + sizeof(tcp), 0) || !reset_header(skb, pkt, &tcp))
		return -DROP_NO_REPLY;
	return (v4 ? reset_v4(skb, pkt) : reset_v6(skb, pkt)) ? -DROP_NO_REPLY : 0;
}
