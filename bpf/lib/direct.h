/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What hosts on a link with us send as it is: expected from the very host of the source, and from
 * nobody else on that link. For who can write any MAC on it that is no proof, as no address is.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "arrive.h"
#include "drop.h"
#include "endpoint.h"
#include "mac.h"
#include "next_hop.h"
#include "packet.h"
#include "remote.h"
#include "rewrite.h"
#include "scratch.h"
#include "settings.h"
#include "underlay.h"

static __always_inline bool direct_from(struct __sk_buff *skb, const struct packet *pkt,
					const struct next_hop *next)
{
	struct scratch *scratch = scratch_get();
	struct way *way;

	if (!scratch)
		return false;
	way = &scratch->way;
	return !underlay_way(skb, &next->underlay, way) && way->known && way->direct &&
	       way->fib.ifindex == skb->ifindex &&
	       mac_equal(&pkt->src_mac, (const struct mac *)way->fib.dmac);
}

/* `src`: whose source it has. What has no plain way to an endpoint goes into the overlay's device,
 * as if it had been taken out of a carrier there.
 */
static __noinline int direct(struct __sk_buff *skb, const struct packet *pkt,
			     const struct remote *src)
{
	struct mac to = settings_mac(&settings.overlay_mac);
	const struct next_hop *next;
	const struct endpoint *dst;
	int err;

	if (!src || !pkt)
		return -DROP_SPOOFED_ADDRESS;
	next = bpf_map_lookup_elem(&next_hops, &src->host);
	if (!next || !(next->flags & NEXT_HOP_DIRECT) || !direct_from(skb, pkt, next))
		return -DROP_SPOOFED_ADDRESS;
	dst = endpoint_find(&pkt->dst);
	if (dst && arrive_is_plain(skb, pkt, src, dst))
		return arrive_at_once(skb, pkt, dst);
	err = rewrite_receiver(skb, &to);
	return err ? err : bpf_redirect(next->device, BPF_F_INGRESS);
}
