/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What becomes of a packet to a published port, and of an ICMP error about one.
 *
 * Global functions: the verifier walks through each of them once (parse.h).
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "deliver.h"
#include "drop.h"
#include "flow.h"
#include "frontend.h"
#include "judge.h"
#include "opening.h"
#include "over.h"
#include "packet.h"
#include "publication.h"
#include "related.h"
#include "scratch.h"
#include "tracking.h"

/* An ICMP error about a packet of a translated flow. (Before Linux 6.2 what a global function is
 * given is no key of a map.)
 */
__noinline int published_error(struct __sk_buff *skb, struct packet *pkt)
{
	struct scratch *scratch = scratch_get();

	if (!scratch || !pkt || !quote_read(skb, pkt, &scratch->quote) ||
	    !quote_may_come(pkt, &scratch->quote))
		return NOT_PUBLISHED;
	scratch->key.src = pkt->src;
	if (pkt->flags & PACKET_ON_WIRE && !addr_is_outside(&scratch->key.src))
		return NOT_PUBLISHED;
	if (!flow_current(&scratch->quote.key, PACKET_ICMP_ERROR) ||
	    scratch->flow.flags & FLOW_PLAIN)
		return NOT_PUBLISHED;
	return deliver(skb, pkt, &scratch->flow, &scratch->quote);
}

/* Whoever opens a connection asks, whatever he has answered before from that port. What was led by a
 * service is so anew where the connection before it is over, or its backend gets no new ones: it pays, is
 * counted, and the backend is chosen by what holds now. In one that is open it was sent once more.
 */
static __always_inline bool published_stays(const struct packet *pkt, const struct flow_key *key,
					    const struct flow *flow)
{
	bool answers = flow->flags & FLOW_ANSWER, over;

	if (!(pkt->flags & PACKET_OPENS))
		return true;
	if (flow->flags & FLOW_PLAIN)
		over = answers && pkt->flags & PACKET_ON_WIRE;
	else if (answers || !(flow->flags & FLOW_SERVICE))
		over = false;
	else
		over = flow->flags & FLOW_PARTING || flow_is_over(key, flow);
	if (!over)
		return true;
	flow_forget(key, flow);
	return false;
}

/* Whether its backend left, and the time is over in which connections may go on. */
static __noinline bool published_over(const struct flow_key *key, const struct flow *flow)
{
	if (!key || !flow || flow->flags & FLOW_ANSWER || !(flow->flags & FLOW_LEFT))
		return false;
	return !flow_lingers(key, flow);
}

/* The flow of a packet to an address of the host, which is no error. Zero: it is in the scratch. */
__noinline int published_flow(struct __sk_buff *skb, const struct packet *pkt)
{
	struct scratch *scratch = scratch_get();

	if (!scratch || !pkt || !flow_has_ports(pkt->protocol))
		return NOT_PUBLISHED;
	scratch->key = flow_key_of(pkt);
	if (flow_current(&scratch->key, pkt->flags) &&
	    published_stays(pkt, &scratch->key, &scratch->flow)) {
		if (scratch->flow.flags & FLOW_PLAIN)
			return NOT_PUBLISHED;
		return published_over(&scratch->key, &scratch->flow) ? -DROP_REFUSED : 0;
	}
	if (!(pkt->flags & PACKET_ACCEPTS))
		return opening(skb, pkt, &scratch->key, &scratch->flow);
	if (pkt->flags & PACKET_ON_WIRE)
		opening_pass(&scratch->key);
	return NOT_PUBLISHED;
}

/* What the scratch has found the flow of. */
__noinline int published_deliver(struct __sk_buff *skb, struct packet *pkt)
{
	struct scratch *scratch = scratch_get();

	return scratch && pkt ? deliver(skb, pkt, &scratch->flow, NULL) : NOT_PUBLISHED;
}

static __always_inline int published(struct __sk_buff *skb, struct packet *pkt)
{
	int verdict;

	if (pkt->flags & PACKET_ICMP_ERROR)
		return published_error(skb, pkt);
	verdict = published_flow(skb, pkt);
	return verdict ? verdict : published_deliver(skb, pkt);
}
