/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What comes from another host to an endpoint of this one. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include "asked.h"
#include "cut.h"
#include "direct.h"
#include "drop.h"
#include "endpoint.h"
#include "fragment.h"
#include "led.h"
#include "packet.h"
#include "remote.h"
#include "rewrite.h"
#include "shaper.h"

/* Whether there is nothing to say about it, and nothing to note. */
static __always_inline bool arrive_is_plain(const struct __sk_buff *skb, const struct packet *pkt,
					    const struct remote *src, const struct endpoint *dst)
{
	if (pkt->flags & PACKET_FRAGMENT || pkt->ttl <= 1 || !packet_fits(skb, pkt, dst->mtu))
		return false;
	if (led_tells(pkt, dst))
		return false;
	if (src->flags & REMOTE_HOST && dst->flags & ENDPOINT_HOST_CLOSED)
		return false;
	return remote_reaches(src, dst);
}

static __always_inline int arrive_at_once(struct __sk_buff *skb, const struct packet *pkt,
					  const struct endpoint *dst)
{
	int err;

	if (dst->flags & ENDPOINT_PUBLISHED)
		flow_make_way(pkt, 0);
	err = led_back(skb, pkt, dst);
	if (!err)
		err = rewrite_hop(skb, pkt, &dst->mac);
	return err ? err : endpoint_enter(dst);
}

static __always_inline int arrive(struct __sk_buff *skb, struct packet *pkt,
				  const struct remote *src, const struct endpoint *dst)
{
	int err;

	if (!remote_reaches(src, dst))
		return -DROP_ISOLATED;
	if (pkt->ttl <= 1)
		return -DROP_TTL_EXCEEDED;
	if (pkt->flags & PACKET_FRAGMENT) {
		err = fragment_follow(pkt);
		if (err)
			return err;
	}
	if (src->flags & REMOTE_HOST && dst->flags & ENDPOINT_HOST_CLOSED) {
		err = asked_remember(pkt, dst);
		if (err)
			return err;
	}
	pkt->mtu = dst->mtu;
	if (!packet_fits(skb, pkt, pkt->mtu))
		return pkt->flags & PACKET_WHOLE ? -DROP_TOO_BIG : fragment_cut(pkt);
	err = led_tells(pkt, dst) ? led_error(skb, pkt) : 0;
	return err ? err : arrive_at_once(skb, pkt, dst);
}
