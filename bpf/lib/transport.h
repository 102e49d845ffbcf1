/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The parser's last step: ports, or type and code, and where the payload begins. */
#pragma once

#include <linux/in.h>
#include <linux/in6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include "cursor.h"
#include "drop.h"
#include "packet.h"
#include "wire.h"

static __always_inline int transport_parse_tcp(struct cursor *cursor, struct packet *pkt)
{
	struct tcphdr *tcp = cursor_take(cursor, sizeof(*tcp));

	if (!tcp)
		return -DROP_TRUNCATED;
	if (tcp->doff < 5)
		return -DROP_MALFORMED;
	pkt->src_port = tcp->source;
	pkt->dst_port = tcp->dest;
	pkt->payload = pkt->transport + tcp->doff * 4;
	if (tcp->syn)
		pkt->flags |= tcp->ack ? PACKET_ACCEPTS : PACKET_OPENS;
	if (tcp->ack)
		pkt->flags |= PACKET_ACKS;
	if (tcp->fin)
		pkt->flags |= PACKET_CLOSES;
	if (tcp->rst)
		pkt->flags |= PACKET_RESETS;
	return 0;
}

/* UDP, and those that begin as it does. */
static __always_inline int transport_parse_udp(struct cursor *cursor, struct packet *pkt)
{
	struct udphdr *udp = cursor_take(cursor, sizeof(*udp));

	if (!udp)
		return -DROP_TRUNCATED;
	pkt->src_port = udp->source;
	pkt->dst_port = udp->dest;
	pkt->payload = pkt->transport + sizeof(*udp);
	return 0;
}

static __always_inline bool icmp_is_error(const struct packet *pkt, __u8 type)
{
	if (pkt->ethertype == IS_IPV6)
		return type < ICMPV6_FIRST_MESSAGE;
	return type == ICMP_UNREACHABLE || type == ICMP_QUENCH || type == ICMP_REDIRECT ||
	       type == ICMP_TIME_EXCEEDED || type == ICMP_BAD_PARAMETER;
}

static __always_inline int transport_parse_icmp(struct cursor *cursor, struct packet *pkt)
{
	struct icmp_header *icmp = cursor_take(cursor, 4); /* MLD and the like may be this short */

	if (!icmp)
		return -DROP_TRUNCATED;
	pkt->src_port = bpf_htons(icmp->type);
	pkt->dst_port = bpf_htons(icmp->code);
	pkt->payload = pkt->transport + 4;
	if (icmp_is_error(pkt, icmp->type))
		pkt->flags |= PACKET_ICMP_ERROR;
	return 0;
}

/* It must be whole in an unfragmented packet and in a first fragment; others have none. */
static __always_inline int transport_parse(struct cursor *cursor, struct packet *pkt)
{
	int err = 0;

	pkt->payload = pkt->transport;
	if (pkt->flags & PACKET_LATER)
		return 0;
	if (pkt->protocol == IPPROTO_TCP)
		err = transport_parse_tcp(cursor, pkt);
	else if (pkt->protocol == IPPROTO_UDP || pkt->protocol == IPPROTO_UDPLITE ||
		 pkt->protocol == IPPROTO_SCTP)
		err = transport_parse_udp(cursor, pkt);
	else if (pkt->protocol == (pkt->ethertype == IS_IPV6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		err = transport_parse_icmp(cursor, pkt);
	if (!err && pkt->payload > ETH_HLEN + pkt->length)
		return -DROP_TRUNCATED;
	return err;
}
