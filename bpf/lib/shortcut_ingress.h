/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The short cut of what is carried between the host that was asked by a published port and the one that
 * has the backend: for packets of flows that are known here, and for those that we relay.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "carrier.h"
#include "deliver.h"
#include "endpoint.h"
#include "flow.h"
#include "ingress.h"
#include "judge.h"
#include "packet.h"
#include "parse.h"
#include "remote.h"
#include "scratch.h"
#include "shortcut.h"
#include "train.h"
#include "underlay.h"

/* To another host: the path by which it goes on. Zero: it is for this one. */
static __always_inline __u32 shortcut_path(const struct packet *pkt, const struct remote *src,
					   const struct underlay *here)
{
	const struct remote *dst;

	if (src)
		return pkt->ingress == here->host ? 0 : pkt->ingress;
	dst = remote_find(&pkt->dst);
	return dst ? remote_path(dst) : 0;
}

/* A verdict, or NO_SHORTCUT. Zero: it is for this host, or an endpoint of it. */
static __noinline int shortcut_sort(struct __sk_buff *skb, struct packet *pkt)
{
	const struct underlay *here = underlay_find();
	const struct remote *src;
	struct carrier outer = {};
	__u32 path;

	if (!here || !pkt || !carrier_is_plain(skb, here, &outer) ||
	    parse_frame(skb, pkt, outer.size) || pkt->ethertype == IS_ARP)
		return NO_SHORTCUT;
	src = remote_find(&pkt->src);
	if (ingress_check(here, &outer.src, bpf_ntohl(outer.id) >> 8, pkt, src))
		return NO_SHORTCUT;
	path = shortcut_path(pkt, src, here);
	if (path)
		return shortcut_onward(skb, &outer, pkt, path);
	return pkt->flags & PACKET_FRAGMENT || pkt->ttl <= 1 ? NO_SHORTCUT : 0;
}

/* Whether its flow is known: then that is in the scratch. An answer has no endpoint here to fit. */
static __noinline bool shortcut_knows(const struct __sk_buff *skb, const struct packet *pkt)
{
	struct scratch *scratch = scratch_get();
	const struct endpoint *dst;

	if (!scratch || !pkt || !flow_has_ports(pkt->protocol))
		return false;
	dst = endpoint_find(&pkt->dst);
	if (dst && (!(dst->flags & ENDPOINT_PUBLISHED) || !packet_fits(skb, pkt, dst->mtu)))
		return false;
	scratch->key = flow_key_of(pkt);
	return flow_current(&scratch->key, pkt->flags) &&
	       !(scratch->flow.flags & FLOW_ANSWER) == !!dst;
}

static __noinline int shortcut_unpack(struct __sk_buff *skb, const struct packet *pkt)
{
	const struct underlay *here = underlay_find();
	struct carrier outer = {};

	if (!here || !pkt || !carrier_is_plain(skb, here, &outer) || train_is(skb, outer.port))
		return NO_SHORTCUT;
	return decapsulate(skb, &outer, pkt);
}

/* In steps, as the stack is small. A verdict, or NO_SHORTCUT. */
static __always_inline int shortcut_ingress(struct __sk_buff *skb, struct packet *pkt)
{
	int verdict = shortcut_sort(skb, pkt);

	if (!verdict)
		verdict = shortcut_knows(skb, pkt) ? shortcut_unpack(skb, pkt) : NO_SHORTCUT;
	if (verdict) {
		pkt->ingress = 0;
		return verdict;
	}
	pkt->flags |= PACKET_REMOTE;
	return published_deliver(skb, pkt);
}
