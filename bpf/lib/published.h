/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What becomes of a packet to a published port, and of an ICMP error about one. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include "budget.h"
#include "deliver.h"
#include "drop.h"
#include "endpoint.h"
#include "flow.h"
#include "judge.h"
#include "packet.h"
#include "publication.h"
#include "related.h"
#include "scratch.h"
#include "settings.h"
#include "tracking.h"

#define NOT_PUBLISHED 0x10000 /* no verdict: the packet has nothing to do with a published port */

/* Who asks itself by way of the host meets the host: from its own address it would take the
 * answer for a question.
 */
static __always_inline void published_masquerade(struct flow *flow, __be16 ethertype)
{
	struct addr host = ethertype == IS_IPV4 ? settings_addr(&settings.host_v4)
						: settings_addr(&settings.host_v6);

	if (!addr_is_unspecified(&host))
		flow->src = host;
}

/* Whether a flow needs no memory: the answer to the outside is made from the origin of the
 * backend's port, and no other flow has the way back.
 */
static __noinline bool published_bare(const struct flow_key *key, const struct flow *flow)
{
	struct scratch *scratch = scratch_get();
	const struct origin *origin;

	if (!key || !flow || !scratch)
		return false;
	scratch->back = flow_reverse_key(key, flow);
	origin = origin_find(&flow->dst, flow->dst_port, key->protocol);
	return origin && origin->port == key->dst_port && addr_equal(&origin->addr, &key->dst) &&
	       !flow_find(&scratch->back);
}

/* The first answer of a connection that somebody here opened to the outside, from a port that is a
 * published one besides: what follows it on that connection is the host's, too. Without a token
 * the next packet is taken for a question.
 */
static __noinline void published_pass(const struct flow_key *key)
{
	struct scratch *scratch = scratch_get();
	const struct publication *found;
	const struct endpoint *backend;
	struct flow *flow;
	struct flow_key asked;

	if (!key || !scratch)
		return;
	found = publication_find(&key->dst, key->dst_port, key->protocol);
	backend = found ? endpoint_find(&found->backend) : NULL;
	if (!backend || !addr_is_outside(&key->src) ||
	    !budget_spend(backend->ifindex | BUDGET_OUTSIDE))
		return;
	flow = &scratch->flow;
	__builtin_memset(flow, 0, sizeof(*flow));
	__builtin_memset(&asked, 0, sizeof(asked));
	flow->src = asked.src = key->dst;
	flow->dst = asked.dst = key->src;
	flow->src_port = asked.src_port = key->dst_port;
	flow->dst_port = asked.dst_port = key->src_port;
	flow->epoch = epoch_now();
	flow->seen = clock_ticks();
	flow->flags = FLOW_PLAIN;
	asked.protocol = key->protocol;
	flow_enter(&asked, flow);
}

/* A flow for the first packet to a published port. Without a token one from the outside is
 * carried all the same where it needs no memory.
 */
static __noinline int published_open(struct __sk_buff *skb, const struct packet *pkt,
				     const struct flow_key *key, struct flow *flow)
{
	__u32 epoch = epoch_now(), payer = skb->ifindex;
	const struct publication *found = publication_find(&key->dst, key->dst_port, key->protocol);
	const struct endpoint *backend = found ? endpoint_find(&found->backend) : NULL, *asker;
	bool wire = pkt->flags & PACKET_ON_WIRE;

	if (!backend || (wire && !addr_is_outside(&key->src)))
		return NOT_PUBLISHED;
	flow->src = key->src;
	flow->src_port = key->src_port;
	flow->dst = found->backend;
	flow->dst_port = found->port;
	flow->epoch = epoch;
	flow->seen = clock_ticks();
	flow->flags = wire ? 0 : FLOW_INNER;
	flow->container = 0;
	asker = wire ? NULL : interface_find(payer);
	if (asker)
		flow->container = asker->container;
	if (wire)
		payer = backend->ifindex | BUDGET_OUTSIDE;
	else if (pkt->flags & PACKET_REMOTE)
		payer = budget_remote(&key->src);
	else if (endpoint_owns(backend, payer))
		published_masquerade(flow, pkt->ethertype);
	if (budget_spend(payer))
		return flow_enter(key, flow) ? 0 : -DROP_FLOW_LIMIT;
	if (!wire || !(found->flags & PUBLICATION_SOLE))
		return -DROP_FLOW_LIMIT;
	return published_bare(key, flow) ? 0 : -DROP_FLOW_LIMIT;
}

/* An ICMP error about a packet of a translated flow. */
static __noinline int published_error(struct __sk_buff *skb, struct packet *pkt)
{
	struct scratch *scratch = scratch_get();

	if (!scratch || !quote_read(skb, pkt, &scratch->quote) ||
	    !quote_may_come(pkt, &scratch->quote))
		return NOT_PUBLISHED;
	if (pkt->flags & PACKET_ON_WIRE && !addr_is_outside(&pkt->src))
		return NOT_PUBLISHED;
	if (!flow_current(&scratch->quote.key) || scratch->flow.flags & FLOW_PLAIN)
		return NOT_PUBLISHED;
	return deliver(skb, pkt, &scratch->flow, &scratch->quote);
}

/* Whoever opens a connection asks, whatever he has answered before from that port. */
static __always_inline bool published_stays(const struct packet *pkt, const struct flow_key *key,
					    const struct flow *flow)
{
	bool answered = flow->flags & FLOW_PLAIN && flow->flags & FLOW_ANSWER;

	if (!answered || !(pkt->flags & PACKET_ON_WIRE) || !(pkt->flags & PACKET_OPENS))
		return true;
	flow_forget(key, flow);
	return false;
}

/* A packet to an address of the host, and no error. */
static __noinline int published_request(struct __sk_buff *skb, struct packet *pkt)
{
	struct scratch *scratch = scratch_get();
	int err;

	if (!scratch || !flow_has_ports(pkt->protocol))
		return NOT_PUBLISHED;
	scratch->key = flow_key_of(pkt);
	if (flow_current(&scratch->key) && published_stays(pkt, &scratch->key, &scratch->flow)) {
		if (scratch->flow.flags & FLOW_PLAIN)
			return NOT_PUBLISHED;
	} else if (pkt->flags & PACKET_ACCEPTS) {
		if (pkt->flags & PACKET_ON_WIRE)
			published_pass(&scratch->key);
		return NOT_PUBLISHED;
	} else {
		err = published_open(skb, pkt, &scratch->key, &scratch->flow);
		if (err)
			return err;
	}
	return deliver(skb, pkt, &scratch->flow, NULL);
}

static __always_inline int published(struct __sk_buff *skb, struct packet *pkt)
{
	if (pkt->flags & PACKET_ICMP_ERROR)
		return published_error(skb, pkt);
	return published_request(skb, pkt);
}
