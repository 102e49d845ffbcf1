/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What a host asks of an endpoint that must not ask hosts: it is remembered on the way there
 * (to_endpoint; arrive.h, of another host), and only what answers it comes back (from_endpoint).
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include "budget.h"
#include "drop.h"
#include "endpoint.h"
#include "flow.h"
#include "judge.h"
#include "packet.h"
#include "related.h"
#include "scratch.h"
#include "tracking.h"
#include "wire.h"

#define ASKED_BY_ONE __attribute__((unused)) /* each is of one program */

/* An error asks nothing; the endpoint itself may have caused it. */
ASKED_BY_ONE static __noinline int asked_remember(const struct packet *pkt,
						  const struct endpoint *dst)
{
	struct scratch *scratch = scratch_get();
	struct flow *flow;

	if (!scratch || pkt->flags & PACKET_ICMP_ERROR)
		return 0;
	scratch->key = flow_key_of(pkt);
	if (flow_current(&scratch->key, 0))
		return 0;
	flow = &scratch->flow;
	flow->src = scratch->key.src;
	flow->dst = scratch->key.dst;
	flow->src_port = scratch->key.src_port;
	flow->dst_port = scratch->key.dst_port;
	flow_begin(flow, epoch_now(), FLOW_PLAIN | FLOW_INNER, dst->container);
	return budget_spend(dst->ifindex) && flow_enter(&scratch->key, flow) ? 0 : -DROP_FLOW_LIMIT;
}

/* What nobody says who answers: TCP's first packet, a ping. */
static __always_inline bool packet_asks(const struct packet *pkt)
{
	if (pkt->protocol == IPPROTO_ICMP || pkt->protocol == IPPROTO_ICMPV6)
		return !(pkt->flags & PACKET_ICMP_ERROR) && pkt->src_port != bpf_htons(ICMP_PONG) &&
		       pkt->src_port != bpf_htons(ICMPV6_PONG);
	return pkt->flags & PACKET_OPENS;
}

/* Whether a host has asked for this, by itself or by a packet that the error quotes. */
ASKED_BY_ONE static __noinline bool asked_by_host(struct __sk_buff *skb, const struct packet *pkt)
{
	struct scratch *scratch = scratch_get();

	if (!scratch || packet_asks(pkt))
		return false;
	scratch->key = flow_key_of(pkt);
	if (pkt->flags & PACKET_ICMP_ERROR) {
		if (!quote_read(skb, pkt, &scratch->quote) || !quote_may_come(pkt, &scratch->quote))
			return false;
		scratch->key = scratch->quote.key;
	}
	return flow_current(&scratch->key, 0) && scratch->flow.flags & FLOW_ANSWER;
}
