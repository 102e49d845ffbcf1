/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Answers of ours, by the way that what they answer came. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>
#include "convey.h"
#include "drop.h"
#include "mac.h"
#include "packet.h"
#include "remote.h"
#include "settings.h"

static __always_inline int reply_head(struct __sk_buff *skb, const struct mac *to,
				      const struct mac *from, __be16 ethertype)
{
	struct ethhdr eth = { .h_proto = ethertype };

	__builtin_memcpy(eth.h_dest, to, sizeof(*to));
	__builtin_memcpy(eth.h_source, from, sizeof(*from));
	if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0) || bpf_skb_change_type(skb, 0))
		return -DROP_NO_REPLY;
	return 0;
}

/* Back to where it came from: from the gateway to the container on this device. */
static __always_inline int reply(struct __sk_buff *skb, const struct mac *to, __be16 ethertype)
{
	struct mac gateway = settings_mac(&settings.gateway_mac);
	int err = reply_head(skb, to, &gateway, ethertype);

	return err ? err : bpf_redirect_peer(skb->ifindex, 0);
}

/* The same by an uplink: to the neighbour that sent the packet. */
static __always_inline int reply_on_wire(struct __sk_buff *skb, const struct packet *pkt)
{
	int err = reply_head(skb, &pkt->src_mac, &pkt->dst_mac, pkt->ethertype);

	return err ? err : bpf_redirect(skb->ifindex, 0);
}

/* The same to another host's endpoint: whatever way leads there now. To who asked another host by a
 * published port: back to that host.
 */
static __always_inline int reply_to_remote(struct __sk_buff *skb, const struct packet *pkt)
{
	const struct remote *to = remote_find(&pkt->src);
	struct packet answer = { .ethertype = pkt->ethertype, .flags = PACKET_WHOLE };
	__u32 path = to ? remote_path(to) : pkt->ingress;
	int verdict;

	answer.length = skb->len - ETH_HLEN;
	if (!to)
		answer.ingress = pkt->ingress;
	verdict = path ? convey(skb, &answer, path, false) : -DROP_NO_PATH;
	return verdict == CONVEY_NOT ? -DROP_NO_REPLY : verdict;
}

/* By whichever of these ways the packet came. */
static __noinline int reply_back(struct __sk_buff *skb, const struct packet *pkt)
{
	if (!pkt)
		return -DROP_NO_REPLY;
	if (pkt->flags & PACKET_REMOTE)
		return reply_to_remote(skb, pkt);
	if (pkt->flags & PACKET_ON_WIRE)
		return reply_on_wire(skb, pkt);
	return reply(skb, &pkt->src_mac, pkt->ethertype);
}
