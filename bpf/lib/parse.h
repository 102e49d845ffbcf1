/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The only parser: a frame's headers in, struct packet out. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_helpers.h>
#include "cursor.h"
#include "drop.h"
#include "packet.h"
#include "transport.h"
#include "wire.h"

#define MAX_EXTENSIONS	   6   /* IPv6 headers before the transport */
#define MAX_HEADERS	   256 /* bytes of all headers together */

#define IPV4_DONT_FRAGMENT bpf_htons(0x4000)
#define IPV4_MORE	   bpf_htons(0x2000)
#define IPV4_OFFSET	   bpf_htons(0x1fff)
#define IPV6_MORE	   bpf_htons(0x0001)
#define IPV6_OFFSET	   bpf_htons(0xfff8)

static __always_inline int parse_ipv4(struct __sk_buff *skb, struct cursor *cursor,
				      struct packet *pkt, __u32 frame)
{
	struct iphdr *ip = cursor_take(cursor, sizeof(*ip));
	__u32 options;

	if (!ip)
		return -DROP_TRUNCATED;
	addr_map(&pkt->src, ip->saddr);
	addr_map(&pkt->dst, ip->daddr);
	if (ip->version != 4 || ip->ihl < 5)
		return -DROP_MALFORMED;
	options = (ip->ihl - 5) * 4;
	if (options && !cursor_take(cursor, options))
		return -DROP_TRUNCATED;
	pkt->length = bpf_ntohs(ip->tot_len);
	if (!pkt->length && skb->gso_size)
		pkt->length = frame - ETH_HLEN; /* more than 64 KiB, yet to be cut */
	if (pkt->length < sizeof(*ip) + options)
		return -DROP_MALFORMED;
	if (pkt->length > frame - ETH_HLEN)
		return -DROP_TRUNCATED;
	pkt->protocol = ip->protocol;
	pkt->ttl = ip->ttl;
	pkt->transport = ETH_HLEN + sizeof(*ip) + options;
	if (ip->frag_off & IPV4_DONT_FRAGMENT)
		pkt->flags |= PACKET_WHOLE;
	if (ip->frag_off & (IPV4_MORE | IPV4_OFFSET))
		pkt->flags |= PACKET_FRAGMENT;
	if (ip->frag_off & IPV4_OFFSET)
		pkt->flags |= PACKET_LATER;
	pkt->fragment = ip->id;
	pkt->fragment_protocol = ip->protocol;
	return transport_parse(cursor, pkt);
}

static __always_inline int parse_fragment(struct cursor *cursor, struct packet *pkt)
{
	struct fragment_header *header = cursor_take(cursor, sizeof(*header));

	if (!header)
		return -DROP_TRUNCATED;
	if (pkt->flags & PACKET_FRAGMENT)
		return -DROP_MALFORMED;
	if (header->offset & (IPV6_MORE | IPV6_OFFSET))
		pkt->flags |= PACKET_FRAGMENT;
	if (header->offset & IPV6_OFFSET)
		pkt->flags |= PACKET_LATER;
	pkt->fragment = header->id;
	pkt->fragment_protocol = header->next;
	pkt->protocol = header->next;
	pkt->transport += sizeof(*header);
	return 0;
}

static __always_inline int parse_extension(struct cursor *cursor, struct packet *pkt)
{
	struct extension *header = cursor_take(cursor, sizeof(*header));
	__u32 more;

	if (!header)
		return -DROP_TRUNCATED;
	more = pkt->protocol == IPPROTO_AH ? header->length * 4 : header->length * 8;
	pkt->protocol = header->next;
	pkt->transport += sizeof(*header) + more;
	return cursor_take(cursor, more) ? 0 : -DROP_TRUNCATED;
}

static __always_inline int parse_extensions(struct cursor *cursor, struct packet *pkt)
{
	int err, i;

	for (i = 0; i <= MAX_EXTENSIONS; i++) {
		switch (pkt->protocol) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_AH:
			err = parse_extension(cursor, pkt);
			break;
		case IPPROTO_FRAGMENT:
			err = parse_fragment(cursor, pkt);
			break;
		default:
			return 0;
		}
		if (err || pkt->flags & PACKET_LATER)
			return err;
	}
	return -DROP_EXTENSIONS;
}

static __always_inline int parse_ipv6(struct __sk_buff *skb, struct cursor *cursor,
				      struct packet *pkt, __u32 frame)
{
	struct ipv6hdr *ip = cursor_take(cursor, sizeof(*ip));
	int err;

	if (!ip)
		return -DROP_TRUNCATED;
	__builtin_memcpy(&pkt->src, &ip->saddr, sizeof(pkt->src));
	__builtin_memcpy(&pkt->dst, &ip->daddr, sizeof(pkt->dst));
	if (ip->version != 6)
		return -DROP_MALFORMED;
	pkt->length = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	if (!ip->payload_len && skb->gso_size)
		pkt->length = frame - ETH_HLEN;
	if (pkt->length > frame - ETH_HLEN)
		return -DROP_TRUNCATED;
	if (addr_is_mapped(&pkt->src) || addr_is_mapped(&pkt->dst))
		return -DROP_MALFORMED; /* would pass for IPv4 in our maps */
	pkt->protocol = ip->nexthdr;
	pkt->ttl = ip->hop_limit;
	pkt->transport = ETH_HLEN + sizeof(*ip);
	pkt->flags |= PACKET_WHOLE;
	err = parse_extensions(cursor, pkt);
	return err ? err : transport_parse(cursor, pkt);
}

/* The frame that begins at this offset; those of the packet count from there. The addresses are
 * there as soon as their header is, whatever is wrong with the rest.
 *
 * A global function: the verifier walks through it once, and behind it takes any packet for
 * possible.
 */
__noinline int parse_frame(struct __sk_buff *skb, struct packet *pkt, __u32 at)
{
	struct cursor cursor = cursor_at_start(skb);
	__u32 frame = skb->len - at;
	struct ethhdr *eth;

	if (!pkt || at > MAX_HEADERS || !cursor_take(&cursor, at))
		return -DROP_TRUNCATED;
	eth = cursor_take(&cursor, sizeof(*eth));
	if (!eth)
		return -DROP_TRUNCATED;
	__builtin_memcpy(&pkt->dst_mac, eth->h_dest, sizeof(pkt->dst_mac));
	__builtin_memcpy(&pkt->src_mac, eth->h_source, sizeof(pkt->src_mac));
	pkt->ethertype = eth->h_proto;
	pkt->flags = 0;
	if (pkt->ethertype == IS_IPV4)
		return parse_ipv4(skb, &cursor, pkt, frame);
	if (pkt->ethertype == IS_IPV6)
		return parse_ipv6(skb, &cursor, pkt, frame);
	return pkt->ethertype == IS_ARP ? 0 : -DROP_PROTOCOL;
}

/* Headers may lie outside the part of a packet that a program sees: then they are pulled in, and
 * read again.
 */
static __always_inline int parse_at(struct __sk_buff *skb, struct packet *pkt, __u32 at)
{
	int err, i;

	for (i = 0; i < 2; i++) {
		err = parse_frame(skb, pkt, at);
		if (err != -DROP_TRUNCATED || i)
			break;
		if (bpf_skb_pull_data(skb, skb->len < MAX_HEADERS ? skb->len : MAX_HEADERS))
			break;
	}
	return err;
}

static __always_inline int parse(struct __sk_buff *skb, struct packet *pkt)
{
	return skb->vlan_present ? -DROP_PROTOCOL : parse_at(skb, pkt, 0);
}
