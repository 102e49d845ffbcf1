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
#include "settings.h"
#include "way.h"

static __always_inline bool direct_from(struct __sk_buff *skb, const struct packet *pkt, __u32 host)
{
	const struct way *way = way_by(skb, host | WAY_NEIGHBOUR);

	return way && way->flags & NEXT_HOP_DIRECT && way->known && way->direct &&
	       way->ifindex == skb->ifindex && mac_equal(&pkt->src_mac, &way->next);
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
	int err;

	if (!src || !pkt)
		return -DROP_SPOOFED_ADDRESS;
	if (!direct_from(skb, pkt, src->host))
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
