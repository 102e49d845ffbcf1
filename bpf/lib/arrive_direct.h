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
#include "inquire.h"
#include "mac.h"
#include "next_hop.h"
#include "packet.h"
#include "remote.h"
#include "rewrite.h"
#include "settings.h"
#include "way.h"

/* Whether that host itself is on the link that the packet came by, and may send as it is. */
static __always_inline bool direct_is(const struct __sk_buff *skb, const struct way *way)
{
	return way && way->flags & NEXT_HOP_DIRECT && way->direct && way->ifindex == skb->ifindex;
}

/* The kernel has forgotten that host's MAC, and the host may have no reason to ask for ours: so we do.
 * The packet is refused all the same, for its MAC may be anybody's.
 */
static __noinline int arrive_unknown(struct __sk_buff *skb, const struct packet *pkt,
				     struct way *way)
{
	if (!pkt || !way)
		return -DROP_SPOOFED_ADDRESS;
	return inquire(skb, pkt->ethertype, way, DROP_SPOOFED_ADDRESS);
}

/* `src`: whose source it has. What has no plain way to an endpoint goes into the overlay's device,
 * as if it had been taken out of a carrier there.
 */
static __noinline int arrive_direct(struct __sk_buff *skb, const struct packet *pkt,
				    const struct remote *src)
{
	struct mac to = settings_mac(&settings.overlay_mac);
	const struct next_hop *next;
	const struct endpoint *dst;
	struct way *way;
	int err;

	if (!src || !pkt)
		return -DROP_SPOOFED_ADDRESS;
	way = way_by(skb, src->host | WAY_NEIGHBOUR);
	if (!direct_is(skb, way))
		return -DROP_SPOOFED_ADDRESS;
	if (!way->known)
		return arrive_unknown(skb, pkt, way);
	if (!mac_equal(&pkt->src_mac, &way->next))
		return -DROP_SPOOFED_ADDRESS;
	dst = endpoint_find(&pkt->dst);
	if (dst && arrive_is_plain(skb, pkt, src, dst))
		return arrive_at_once(skb, pkt, dst);
	next = bpf_map_lookup_elem(&next_hops, &src->host);
	if (!next)
		return -DROP_NO_PATH;
	err = rewrite_receiver(skb, &to);
	return err ? err : bpf_redirect(next->device, BPF_F_INGRESS);
}
