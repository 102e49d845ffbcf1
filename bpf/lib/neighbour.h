/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Who has this address? We all do: the gateway's MAC answers for the gateway, and, for
 * containers that were given a whole prefix, for every address of ours but the asker's own.
 * Probes for duplicate addresses are never answered.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "checksum.h"
#include "drop.h"
#include "endpoint.h"
#include "network.h"
#include "packet.h"
#include "reply.h"
#include "settings.h"
#include "wire.h"

#define ND_FROM_ROUTER bpf_htonl(0x80000000)
#define ND_SOLICITED   bpf_htonl(0x40000000)
#define ND_OVERRIDE    bpf_htonl(0x20000000)

struct neighbour_advertisement {
	struct ipv6hdr ip;
	struct neighbour_message nd;
	struct neighbour_option option;
};

static __always_inline __be32 ip_join(const __be16 *halves)
{
	__be32 ip;

	__builtin_memcpy(&ip, halves, sizeof(ip));
	return ip;
}

static __always_inline bool neighbour_answers(const struct addr *target, const struct addr *gateway,
					      const struct endpoint *asker)
{
	const struct endpoint *holder;

	if (addr_equal(target, gateway))
		return true;
	holder = endpoint_find(target);
	if (holder)
		return holder->container != asker->container;
	return subnet_find(target);
}

/* An address that the asker may ask from: its own, on its own device. */
static __always_inline bool neighbour_asks(const struct addr *sender, const struct endpoint *asker)
{
	const struct endpoint *own = endpoint_find(sender);

	return own && own->container == asker->container;
}

static __always_inline bool arp_is_ours(const struct arp *arp)
{
	return arp->hardware == bpf_htons(ARP_ETHERNET) && arp->protocol == IS_IPV4 &&
	       arp->hardware_size == ETH_ALEN && arp->protocol_size == 4;
}

/* Zero, or the reason not to answer. */
static __always_inline int neighbour_check(const struct addr *sender, const struct addr *target,
					   const struct addr *gateway, const struct endpoint *asker)
{
	bool own = addr_is_mapped(sender) || !addr_is_link_local(sender);

	if (addr_is_unspecified(sender) || addr_equal(sender, target))
		return -DROP_ADDRESS_PROBE;
	if (own && !neighbour_asks(sender, asker))
		return -DROP_SPOOFED_ADDRESS;
	return neighbour_answers(target, gateway, asker) ? 0 : -DROP_NEIGHBOUR;
}

static __noinline int arp_answer(struct __sk_buff *skb, const struct packet *pkt)
{
	const struct endpoint *asker = interface_find(skb->ifindex);
	struct addr sender, target, gateway;
	struct arp arp, answer;
	int err;

	if (!asker)
		return -DROP_UNKNOWN_DEVICE;
	if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
		return -DROP_TRUNCATED;
	if (!arp_is_ours(&arp))
		return -DROP_MALFORMED;
	if (arp.operation != bpf_htons(ARP_REQUEST))
		return -DROP_NEIGHBOUR;
	if (!mac_equal(&pkt->src_mac, &asker->mac) || !mac_equal(&arp.sender_mac, &asker->mac))
		return -DROP_SPOOFED_MAC;
	addr_map(&sender, ip_join(arp.sender));
	addr_map(&target, ip_join(arp.target));
	gateway = settings_addr(&settings.gateway_v4);
	err = neighbour_check(&sender, &target, &gateway, asker);
	if (err)
		return err;
	answer = arp;
	answer.operation = bpf_htons(ARP_REPLY);
	answer.sender_mac = settings_mac(&settings.gateway_mac);
	__builtin_memcpy(answer.sender, arp.target, sizeof(arp.target));
	answer.target_mac = arp.sender_mac;
	__builtin_memcpy(answer.target, arp.sender, sizeof(arp.sender));
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &answer, sizeof(answer), 0))
		return -DROP_NO_REPLY;
	return reply(skb, &arp.sender_mac, IS_ARP);
}

static __always_inline int advertise(struct __sk_buff *skb, const struct packet *pkt,
				     const struct addr *target, bool router)
{
	struct neighbour_advertisement head = {
		.ip = { .version = 6, .nexthdr = IPPROTO_ICMPV6, .hop_limit = ND_HOP_LIMIT },
	};
	__u32 sum;

	head.ip.payload_len = bpf_htons(sizeof(head) - sizeof(head.ip));
	__builtin_memcpy(&head.ip.saddr, target, sizeof(*target));
	__builtin_memcpy(&head.ip.daddr, &pkt->src, sizeof(pkt->src));
	head.nd.icmp.type = ND_ADVERTISEMENT;
	head.nd.icmp.rest = ND_SOLICITED | ND_OVERRIDE | (router ? ND_FROM_ROUTER : 0);
	head.nd.target = *target;
	head.option.kind = ND_TARGET_MAC;
	head.option.length = 1;
	head.option.mac = settings_mac(&settings.gateway_mac);
	sum = checksum_pseudo(&head.ip, 0);
	sum = checksum_add(sum, &head.nd, sizeof(head) - sizeof(head.ip));
	head.nd.icmp.checksum = checksum_fold(sum);
	if (bpf_skb_change_tail(skb, ETH_HLEN + sizeof(head), 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, &head, sizeof(head), 0))
		return -DROP_NO_REPLY;
	return reply(skb, &pkt->src_mac, IS_IPV6);
}

static __noinline int neighbour_answer(struct __sk_buff *skb, const struct packet *pkt)
{
	const struct endpoint *asker = interface_find(skb->ifindex);
	struct neighbour_message message;
	struct addr gateway;
	int err;

	if (!asker)
		return -DROP_UNKNOWN_DEVICE;
	if (!mac_equal(&pkt->src_mac, &asker->mac))
		return -DROP_SPOOFED_MAC;
	if (pkt->src_port != bpf_htons(ND_SOLICITATION))
		return -DROP_NEIGHBOUR;
	if (pkt->flags & PACKET_FRAGMENT || pkt->ttl != ND_HOP_LIMIT || pkt->dst_port)
		return -DROP_MALFORMED;
	if (bpf_skb_load_bytes(skb, pkt->transport, &message, sizeof(message)) ||
	    pkt->transport + sizeof(message) > ETH_HLEN + pkt->length)
		return -DROP_TRUNCATED;
	gateway = settings_addr(&settings.gateway_v6);
	err = neighbour_check(&pkt->src, &message.target, &gateway, asker);
	if (err)
		return err;
	return advertise(skb, pkt, &message.target, addr_equal(&message.target, &gateway));
}
