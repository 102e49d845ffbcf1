/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What becomes of the answer of a published port. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "budget.h"
#include "counted.h"
#include "deliver.h"
#include "drop.h"
#include "flow.h"
#include "identity.h"
#include "judge.h"
#include "packet.h"
#include "publication.h"
#include "published.h"
#include "scratch.h"
#include "tracking.h"

/* A published port sends to the outside, and no flow is known: it was forgotten, or the port
 * speaks first. By its sole publication the answer is made what it would have been.
 */
static __noinline int answer_again(struct __sk_buff *skb, const struct packet *pkt,
				   const struct flow_key *key, struct flow *flow)
{
	const struct origin *origin = origin_find(&key->src, key->src_port, key->protocol);
	struct flow_key asked = { .src = key->dst, .src_port = key->dst_port };

	if (!origin || pkt->flags & PACKET_OPENS || !addr_is_outside(&key->dst))
		return NOT_PUBLISHED;
	if (addr_is_unspecified(&origin->addr))
		return -DROP_NO_FLOW;
	asked.dst = origin->addr;
	asked.dst_port = origin->port;
	asked.protocol = key->protocol;
	flow->src = key->dst;
	flow->src_port = key->dst_port;
	flow->dst = key->src;
	flow->dst_port = key->src_port;
	flow_begin(flow, epoch_now(), counted_find(&asked) ? FLOW_COUNTED | FLOW_SERVICE : 0, 0);
	if (!flow_find(&asked) && budget_spend(skb->ifindex | BUDGET_OUTSIDE))
		flow_enter(&asked, flow);
	*flow = flow_reverse(&asked, flow);
	return 0;
}

/* The flow of one that is no error. Zero: it is in the scratch. `inside`: to another endpoint. */
static __noinline int answer_flow(struct __sk_buff *skb, const struct packet *pkt, bool inside)
{
	struct scratch *scratch = scratch_get();

	if (!scratch || !flow_has_ports(pkt->protocol))
		return NOT_PUBLISHED;
	scratch->key = flow_key_of(pkt);
	if (flow_current(&scratch->key, pkt->flags))
		return scratch->flow.flags & FLOW_ANSWER && !(scratch->flow.flags & FLOW_PLAIN)
			       ? 0
			       : NOT_PUBLISHED;
	return inside ? NOT_PUBLISHED : answer_again(skb, pkt, &scratch->key, &scratch->flow);
}

/* A packet of an endpoint that has published ports: the answer to one to such a port? */
static __always_inline int answer(struct __sk_buff *skb, struct packet *pkt, bool inside)
{
	int verdict;

	if (pkt->flags & PACKET_ICMP_ERROR)
		return published_error(skb, pkt);
	verdict = answer_flow(skb, pkt, inside);
	return verdict ? verdict : published_deliver(skb, pkt);
}
