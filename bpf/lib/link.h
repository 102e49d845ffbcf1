/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Links to other hosts: whoever knows the number of one is answered that it is up, and heard. See
 * probe.h.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "checksum.h"
#include "cursor.h"
#include "drop.h"
#include "identity.h"
#include "packet.h"
#include "probe.h"
#include "reply.h"
#include "underlay.h"

#define NO_PROBE  0x10003 /* no verdict: it is none of these */
#define PROBE_TTL 64
#define PROBE_UDP (sizeof(struct udphdr) + sizeof(struct probe)) /* length of an answer */

struct link_number {
	__u64 number;
	__u32 to; /* number of this host */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* number of the host at the other end */
	__type(value, struct link_number);
} link_numbers SEC(".maps");

/* Also the first of several fragments: the others come to nothing without it. */
static __always_inline bool link_is_meant(const struct packet *pkt)
{
	return pkt->protocol == IPPROTO_UDP && !(pkt->flags & PACKET_LATER) &&
	       pkt->dst_port == bpf_htons(PROBE_PORT);
}

static __always_inline bool link_is_whole(const struct packet *pkt)
{
	__u32 head = pkt->ethertype == IS_IPV4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);

	return !(pkt->flags & PACKET_FRAGMENT) && pkt->transport == ETH_HLEN + head &&
	       pkt->payload + sizeof(struct probe) <= ETH_HLEN + pkt->length;
}

/* Zero, or the reason to refuse it. `here` and `there`: which of its numbers are those of this host
 * and of the other end.
 */
static __always_inline int link_judge(const struct probe *probe, __be32 here, __be32 there)
{
	__u32 other = bpf_ntohl(there);
	const struct link_number *known = bpf_map_lookup_elem(&link_numbers, &other);

	if (!known || known->to != bpf_ntohl(here) ||
	    known->number != bpf_be64_to_cpu(probe->number))
		return -DROP_PROBE_NUMBER;
	return 0;
}

/* What has no business at this port. On a host that is alone the port may be anybody's. */
static __always_inline int link_refuse(const struct packet *pkt)
{
	if (underlay_find() && identity_of(&pkt->dst) == IDENTITY_HOST)
		return -DROP_NO_PROBE;
	return NO_PROBE;
}

static __always_inline int link_turn_ipv4(struct cursor *cursor)
{
	struct iphdr *ip = cursor_take(cursor, sizeof(*ip));
	__be16 *word; /* the TTL with the protocol; the addresses' sum stays */
	__be32 from;
	__u32 sum;

	if (!ip)
		return -DROP_TRUNCATED;
	word = (__be16 *)&ip->ttl;
	sum = (__u16)~ip->check + (__u16) ~*word + (__u16)~ip->tot_len;
	ip->ttl = PROBE_TTL;
	ip->tot_len = bpf_htons(sizeof(*ip) + PROBE_UDP);
	ip->check = checksum_fold(sum + *word + ip->tot_len);
	from = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = from;
	return 0;
}

static __always_inline int link_turn_ipv6(struct cursor *cursor)
{
	struct ipv6hdr *ip = cursor_take(cursor, sizeof(*ip));
	struct in6_addr from;

	if (!ip)
		return -DROP_TRUNCATED;
	from = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = from;
	ip->payload_len = bpf_htons(PROBE_UDP);
	ip->hop_limit = PROBE_TTL;
	return 0;
}

/* Addresses, TTL, ports and lengths: the parser has had all of them within reach. The length that
 * UDP had before, or an error.
 */
static __always_inline int link_turn(struct __sk_buff *skb, const struct packet *pkt)
{
	struct cursor cursor = cursor_at_start(skb);
	struct udphdr *udp;
	__be16 port, length;
	int err;

	if (!cursor_take(&cursor, ETH_HLEN))
		return -DROP_TRUNCATED;
	err = pkt->ethertype == IS_IPV4 ? link_turn_ipv4(&cursor) : link_turn_ipv6(&cursor);
	udp = cursor_take(&cursor, sizeof(*udp));
	if (err || !udp)
		return -DROP_TRUNCATED;
	port = udp->source;
	udp->source = udp->dest;
	udp->dest = port;
	length = udp->len;
	udp->len = bpf_htons(PROBE_UDP);
	return length;
}

/* The zeroes behind it go: an answer takes no more room than it needs. */
static __always_inline int link_shorten(struct __sk_buff *skb, const struct packet *pkt)
{
	__u32 end = pkt->payload + sizeof(struct probe);

	if (end < ETH_HLEN + pkt->length && bpf_skb_change_tail(skb, end, 0))
		return -DROP_NO_REPLY;
	return 0;
}

/* A word of the packet is another one now, or (BPF_F_PSEUDO_HDR) of what UDP sums up besides. */
static __always_inline int link_sum(struct __sk_buff *skb, const struct packet *pkt, __be16 before,
				    __be16 now, __u32 flags)
{
	return bpf_l4_csum_replace(skb, pkt->transport + offsetof(struct udphdr, check), before,
				   now, flags | BPF_F_MARK_MANGLED_0 | sizeof(__be16));
}

static __always_inline int link_answer(struct __sk_buff *skb, const struct packet *pkt)
{
	__u8 answer = PROBE_ANSWER;
	int length = link_shorten(skb, pkt) ?: link_turn(skb, pkt);

	if (length < 0)
		return length;
	if (link_sum(skb, pkt, bpf_htons(PROBE_QUESTION << 8), bpf_htons(PROBE_ANSWER << 8), 0) ||
	    link_sum(skb, pkt, length, bpf_htons(PROBE_UDP), 0) ||
	    link_sum(skb, pkt, length, bpf_htons(PROBE_UDP), BPF_F_PSEUDO_HDR) ||
	    bpf_skb_store_bytes(skb, pkt->payload + offsetof(struct probe, kind), &answer,
				sizeof(answer), 0))
		return -DROP_NO_REPLY;
	return reply_on_wire(skb, pkt);
}

/* NO_PROBE: it goes on. TC_ACT_OK: to `routed`. */
static __noinline int link_hear(struct __sk_buff *skb, const struct packet *pkt)
{
	struct probe probe;

	if (!link_is_meant(pkt))
		return NO_PROBE;
	if (!link_is_whole(pkt) || bpf_skb_load_bytes(skb, pkt->payload, &probe, sizeof(probe)) ||
	    probe.magic != bpf_htonl(PROBE_MAGIC))
		return link_refuse(pkt);
	if (probe.kind == PROBE_QUESTION)
		return link_judge(&probe, probe.to, probe.from) ?: link_answer(skb, pkt);
	if (probe.kind == PROBE_ANSWER)
		return link_judge(&probe, probe.from, probe.to);
	return link_refuse(pkt);
}
