/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* ICMP errors about a packet of a translated flow: the packet that they quote is translated back,
 * so that who sent it knows it again (RFC 5508, section 4).
 *
 * An error goes the way that the quoted packet came. Seen from here the quoted one went from
 * key.dst to key.src; on the other side of the translation it went from flow.dst to flow.src.
 */
#pragma once

#include <stddef.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include "drop.h"
#include "flow.h"
#include "packet.h"
#include "translate.h"
#include "wire.h"

#define QUOTED_LEAST 8 /* bytes of the transport header (RFC 792) */

static __always_inline bool quote_read_v4(struct __sk_buff *skb, struct quote *quote)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, quote->network, &ip, sizeof(ip)) || ip.version != 4 ||
	    ip.ihl < 5 || ip.frag_off & bpf_htons(0x1fff))
		return false;
	addr_map(&quote->key.src, ip.daddr);
	addr_map(&quote->key.dst, ip.saddr);
	quote->key.protocol = ip.protocol;
	quote->transport = quote->network + ip.ihl * 4;
	quote->check = ip.check;
	return true;
}

static __always_inline bool quote_read_v6(struct __sk_buff *skb, struct quote *quote)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, quote->network, &ip, sizeof(ip)) || ip.version != 6)
		return false;
	__builtin_memcpy(&quote->key.src, &ip.daddr, sizeof(quote->key.src));
	__builtin_memcpy(&quote->key.dst, &ip.saddr, sizeof(quote->key.dst));
	quote->key.protocol = ip.nexthdr;
	quote->transport = quote->network + sizeof(ip);
	return true;
}

/* False: it quotes nothing that can belong to a flow. */
static __always_inline bool quote_read(struct __sk_buff *skb, const struct packet *pkt,
				       struct quote *quote)
{
	bool read;
	__be16 ports[2];

	if (pkt->flags & PACKET_FRAGMENT)
		return false;
	quote->key.ingress = pkt->ingress;
	quote->network = pkt->transport + sizeof(struct icmp_header);
	quote->end = ETH_HLEN + pkt->length;
	read = pkt->ethertype == IS_IPV4 ? quote_read_v4(skb, quote) : quote_read_v6(skb, quote);
	if (!read || !flow_has_ports(quote->key.protocol) ||
	    quote->transport + QUOTED_LEAST > quote->end ||
	    bpf_skb_load_bytes(skb, quote->transport, ports, sizeof(ports)) ||
	    !addr_equal(&quote->key.dst, &pkt->dst))
		return false;
	quote->key.src_port = ports[1];
	quote->key.dst_port = ports[0];
	return true;
}

/* Any router of the outside may say what became of a packet, and any host by which it went; a
 * container only what became of one to itself. No redirect: the receiver would go past the
 * translation.
 */
static __always_inline bool quote_may_come(const struct packet *pkt, const struct quote *quote)
{
	if (pkt->ethertype == IS_IPV4 && pkt->src_port == bpf_htons(ICMP_REDIRECT))
		return false;
	return pkt->flags & PACKET_ON_WIRE || pkt->ingress ||
	       addr_equal(&pkt->src, &quote->key.src);
}

/* The quoted packet's own checksum, if it was quoted so far. True: it was, and fits now. */
static __always_inline bool quote_checksum(struct __sk_buff *skb, const struct quote *quote,
					   __u32 difference)
{
	__u32 at = quote->transport + (quote->key.protocol == IPPROTO_TCP
					       ? offsetof(struct tcphdr, check)
					       : offsetof(struct udphdr, check));
	__be16 check;

	if (at + sizeof(check) > quote->end || bpf_skb_load_bytes(skb, at, &check, sizeof(check)))
		return false;
	if (!check && quote->key.protocol == IPPROTO_UDP)
		return false;
	check = checksum_update(check, difference);
	if (!check && quote->key.protocol == IPPROTO_UDP)
		check = 0xffff;
	return !bpf_skb_store_bytes(skb, at, &check, sizeof(check), 0);
}

struct quoted_v4 { /* the end of IPv4's header */
	__be16 check;
	__be32 src;
	__be32 dst;
} __attribute__((packed));

static __always_inline bool quote_addresses(struct __sk_buff *skb, const struct packet *pkt,
					    const struct quote *quote, const struct flow *to,
					    __u32 difference)
{
	struct addr addrs[2] = { to->dst, to->src };
	struct quoted_v4 tail = {
		.check = checksum_update(quote->check, difference),
		.src = to->dst.words[3],
		.dst = to->src.words[3],
	};

	if (pkt->ethertype == IS_IPV4)
		return !bpf_skb_store_bytes(skb, quote->network + offsetof(struct iphdr, check),
					    &tail, sizeof(tail), 0);
	return !bpf_skb_store_bytes(skb, quote->network + offsetof(struct ipv6hdr, saddr), addrs,
				    sizeof(addrs), 0);
}

/* The quoted packet, and the checksum of the message around it: where a checksum makes up for
 * addresses or ports that stand beside it, their sum is what it was.
 */
static __always_inline bool quote_rewrite(struct __sk_buff *skb, const struct packet *pkt,
					  const struct quote *quote, const struct flow *to)
{
	__be32 *old = (__be32 *)&quote->key, *new = (__be32 *)to; /* two addresses, two ports */
	__u32 addresses = bpf_csum_diff(old, 32, new, 32, 0), sum = 0;
	__be16 sockets[2] = { to->dst_port, to->src_port };
	bool v4 = pkt->ethertype == IS_IPV4;

	if (!quote_checksum(skb, quote, bpf_csum_diff(old, 36, new, 36, 0)))
		sum = v4 ? bpf_csum_diff(old + 8, 4, new + 8, 4, 0)
			 : bpf_csum_diff(old, 36, new, 36, 0);
	else if (v4)
		sum = bpf_csum_diff(new, 32, old, 32, 0);
	return quote_addresses(skb, pkt, quote, to, addresses) &&
	       !bpf_skb_store_bytes(skb, quote->transport, sockets, sizeof(sockets), 0) &&
	       !bpf_l4_csum_replace(skb, pkt->transport + offsetof(struct icmp_header, checksum), 0,
				    sum, 0);
}

/* Who says it, as the receiver knows him: the other end, or a router on the way, for itself. Those
 * behind a port that a service has published are nobody's business: for them speaks the port.
 */
static __always_inline bool related_by_router(const struct packet *pkt, const struct quote *quote,
					      const struct flow *to)
{
	bool hidden = to->ingress && to->flags & FLOW_ANSWER && to->flags & FLOW_SERVICE;

	return !hidden && !addr_equal(&pkt->src, &quote->key.src);
}

/* Translate the error and what it quotes. */
static __always_inline int relate(struct __sk_buff *skb, const struct packet *pkt,
				  const struct quote *quote, const struct flow *to)
{
	struct flow outer = { .src = to->src, .dst = to->dst };
	__u32 difference;

	if (related_by_router(pkt, quote, to))
		outer.src = pkt->src;
	difference = translate_difference(pkt, &outer);
	if (!quote_rewrite(skb, pkt, quote, to))
		return -DROP_TRUNCATED;
	if (pkt->ethertype == IS_IPV6 &&
	    checksum_addresses(skb, pkt, pkt->transport + offsetof(struct icmp_header, checksum),
			       difference, 0))
		return -DROP_TRUNCATED;
	return translate_addresses(skb, pkt, &outer, difference);
}
