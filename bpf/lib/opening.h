/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Flows that the first packet to a published port opens. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "admit.h"
#include "budget.h"
#include "choose.h"
#include "counted.h"
#include "drop.h"
#include "endpoint.h"
#include "flow.h"
#include "frontend.h"
#include "identity.h"
#include "packet.h"
#include "publication.h"
#include "remote.h"
#include "scratch.h"
#include "service.h"
#include "settings.h"
#include "tracking.h"
#include "underlay.h"

/* Who asks itself by way of the host meets the host: from its own address it would take the
 * answer for a question. So does who of ours asks a backend of another host: its answer would go
 * past the host that was asked.
 */
static __always_inline void opening_masquerade(struct flow *flow, __be16 ethertype)
{
	struct addr host = ethertype == IS_IPV4 ? settings_addr(&settings.host_v4)
						: settings_addr(&settings.host_v6);

	if (!addr_is_unspecified(&host))
		flow->src = host;
}

/* Whether a flow needs no memory: its answers are made what they are by the origin alone. */
static __noinline bool opening_bare(const struct flow_key *key, const struct flow *flow)
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

/* Who pays for what somebody outside opens to this port. Zero: nobody, there is none. */
static __always_inline __u32 opening_payer(const struct flow_key *key)
{
	const struct publication *found = publication_find(&key->dst, key->dst_port, key->protocol);
	const struct endpoint *backend = found ? endpoint_find(&found->backend) : NULL;

	if (backend)
		return backend->ifindex | BUDGET_OUTSIDE;
	if (found || !frontend_find(&key->dst, key->dst_port, key->protocol))
		return 0;
	return budget_remote(&key->dst) | BUDGET_OUTSIDE;
}

/* The first answer of a connection that somebody here opened to the outside, from a port that is a
 * published one besides: what follows it on that connection is the host's, too. Without a token
 * the next packet is taken for a question.
 */
static __noinline void opening_pass(const struct flow_key *key)
{
	struct scratch *scratch = scratch_get();
	struct flow_key asked;
	struct flow *flow;
	__u32 payer;

	if (!key || !scratch)
		return;
	payer = opening_payer(key);
	if (!payer || !addr_is_outside(&key->src) || !budget_spend(payer))
		return;
	flow = &scratch->flow;
	__builtin_memset(&asked, 0, sizeof(asked));
	flow->src = asked.src = key->dst;
	flow->dst = asked.dst = key->src;
	flow->src_port = asked.src_port = key->dst_port;
	flow->dst_port = asked.dst_port = key->src_port;
	flow_begin(flow, epoch_now(), FLOW_PLAIN, 0);
	asked.protocol = key->protocol;
	flow_enter(&asked, flow);
}

/* Nobody is outside who claims to be one of us. */
static __noinline bool opening_may_ask(const struct packet *pkt, const struct flow_key *key)
{
	return pkt && key && (!(pkt->flags & PACKET_ON_WIRE) || addr_is_outside(&key->src));
}

/* From the packet; where it leads to is still to be said. `epoch`: before it was looked for that. */
static __always_inline void opening_begin(struct __sk_buff *skb, const struct packet *pkt,
					  const struct flow_key *key, struct flow *flow,
					  __u32 epoch)
{
	bool wire = pkt->flags & PACKET_ON_WIRE;
	const struct endpoint *asker = wire ? NULL : interface_find(skb->ifindex);

	flow->src = key->src;
	flow->src_port = key->src_port;
	flow_begin(flow, epoch, wire ? 0 : FLOW_INNER, asker ? asker->container : 0);
}

/* To an endpoint. Without a token one from the outside is carried all the same where it needs no
 * memory.
 */
static __noinline int opening_endpoint(struct __sk_buff *skb, const struct packet *pkt,
				       const struct flow_key *key, struct flow *flow)
{
	__u32 epoch = epoch_now(), payer = skb->ifindex;
	const struct publication *found = publication_find(&key->dst, key->dst_port, key->protocol);
	const struct endpoint *backend = found ? endpoint_find(&found->backend) : NULL;
	bool wire = pkt->flags & PACKET_ON_WIRE;

	if (!backend || !opening_may_ask(pkt, key))
		return NOT_PUBLISHED;
	opening_begin(skb, pkt, key, flow, epoch);
	flow->dst = found->backend;
	flow->dst_port = found->port;
	if (wire)
		payer = backend->ifindex | BUDGET_OUTSIDE;
	else if (pkt->flags & PACKET_REMOTE)
		payer = budget_remote(&key->src);
	else if (endpoint_owns(backend, payer))
		opening_masquerade(flow, pkt->ethertype);
	if (budget_spend(payer))
		return flow_enter(key, flow) ? 0 : -DROP_FLOW_LIMIT;
	if (!wire || !(found->flags & PUBLICATION_SOLE))
		return -DROP_FLOW_LIMIT;
	return opening_bare(key, flow) ? 0 : -DROP_FLOW_LIMIT;
}

/* Who pays, and how the backend is reached. Zero: it is nowhere. */
static __always_inline __u32 opening_lead(struct __sk_buff *skb, const struct packet *pkt,
					  const struct flow_key *key, struct flow *flow)
{
	const struct endpoint *backend = endpoint_find(&flow->dst);
	const struct underlay *here = underlay_find();
	bool wire = pkt->flags & PACKET_ON_WIRE;

	if (!backend && (!here || !remote_find(&flow->dst)))
		return 0;
	if (!backend && wire)
		flow->ingress = here->host;
	else if (!backend || (!wire && endpoint_owns(backend, skb->ifindex)))
		opening_masquerade(flow, pkt->ethertype);
	if (wire)
		return (backend ? backend->ifindex : budget_remote(&flow->dst)) | BUDGET_OUTSIDE;
	return pkt->flags & PACKET_REMOTE ? budget_remote(&key->src) : skb->ifindex;
}

/* To a backend of a service that was chosen. Zero: it is paid for. */
static __noinline int opening_service(struct __sk_buff *skb, const struct packet *pkt,
				      const struct flow_key *key, struct flow *flow)
{
	__u32 payer;

	if (!pkt || !key || !flow)
		return NOT_PUBLISHED;
	opening_begin(skb, pkt, key, flow, flow->epoch);
	flow->flags |= FLOW_SERVICE;
	payer = opening_lead(skb, pkt, key, flow);
	if (!payer)
		return -DROP_REFUSED;
	return budget_spend(payer) ? 0 : -DROP_FLOW_LIMIT;
}

/* A port of an endpoint goes first. */
static __always_inline int opening(struct __sk_buff *skb, const struct packet *pkt,
				   const struct flow_key *key, struct flow *flow)
{
	int verdict = opening_endpoint(skb, pkt, key, flow);
	const struct service *service;
	int slot;

	if (verdict != NOT_PUBLISHED)
		return verdict;
	flow->epoch = epoch_now();
	service = frontend_find(&key->dst, key->dst_port, key->protocol);
	if (!service || !opening_may_ask(pkt, key))
		return NOT_PUBLISHED;
	slot = choose(service, key, flow);
	verdict = slot < 0 ? slot : opening_service(skb, pkt, key, flow);
	if (slot < 0)
		counted_leave(key); /* it goes on with nobody */
	if (!verdict)
		verdict = admit(pkt, key, flow, service, choose_sharer(key));
	if (!verdict)
		choose_keep(service, key, flow, slot);
	return verdict;
}
