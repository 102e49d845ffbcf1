/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What asks a service and was not led to a backend by a hook of its socket: raw sockets, what is nested
 * in a container or runs in its VM. It is led packet by packet, by a flow.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include "admit.h"
#include "asking.h"
#include "budget.h"
#include "counted.h"
#include "deliver.h"
#include "drop.h"
#include "endpoint.h"
#include "flow.h"
#include "hash.h"
#include "lead.h"
#include "led.h"
#include "packet.h"
#include "related.h"
#include "scratch.h"
#include "service.h"
#include "tracking.h"

#define FALLBACK_CLIENT (1ull << 63) /* beside a container's number: no cookie of a namespace */

/* In the middle of a connection that is not known any more: whether it would be led as before. */
static __always_inline bool fallback_again(const struct packet *pkt, const struct service *service)
{
	return packet_opens(pkt) || service->affinity || service->algorithm == SERVICE_RANDOM ||
	       service_is_bare(service);
}

/* A container that asks itself would take its own address for a martian: it is asked by the VIP, and
 * the answer to that comes here again.
 */
static __always_inline void fallback_flow_to(const struct place *backend,
					     const struct endpoint *src, const struct flow_key *key,
					     struct flow *flow)
{
	const struct endpoint *dst = endpoint_find(&backend->addr);

	flow->src = dst && dst->container == src->container ? key->dst : key->src;
	flow->src_port = key->src_port;
	flow->dst = backend->addr;
	flow->dst_port = backend->port;
	flow_begin(flow, flow->epoch, FLOW_LED | FLOW_INNER, src->container);
}

static __noinline int fallback_open(const struct __sk_buff *skb, const struct packet *pkt,
				    const struct endpoint *src)
{
	struct scratch *scratch = scratch_get();
	const struct service *service;
	struct draw draw = {};
	int asking;

	if (!pkt || !src || !scratch)
		return -DROP_NO_ENDPOINT;
	scratch->flow.epoch = epoch_now(); /* before it is looked for a backend */
	draw.service.addr = pkt->dst;
	draw.service.port = pkt->dst_port;
	draw.service.protocol = pkt->protocol;
	service = bpf_map_lookup_elem(&services, &draw.service);
	if (!service)
		return -DROP_NO_ENDPOINT;
	if (!fallback_again(pkt, service)) {
		counted_leave(&scratch->key);
		return -DROP_REFUSED;
	}
	if (!service_is_bare(service) && !budget_spend(skb->ifindex))
		return -DROP_FLOW_LIMIT;		 /* before anything is kept of it */
	draw.number = hash_end(flow_tag(&scratch->key)); /* what was forgotten is led as before */
	asking = asking_service(&draw, service, src->container | FALLBACK_CLIENT, 0);
	if (asking != ASKING_BACKEND) {
		counted_leave(&scratch->key);
		return asking == ASKING_REFUSED ? -DROP_REFUSED : -DROP_SILENT;
	}
	fallback_flow_to(&draw.backend, src, &scratch->key, &scratch->flow);
	return 0;
}

/* Apart from the choice, as both need the stack. */
static __noinline int fallback_admit(const struct packet *pkt, const struct endpoint *src)
{
	struct scratch *scratch = scratch_get();
	const struct service *service;

	if (!pkt || !src || !scratch)
		return -DROP_NO_ENDPOINT;
	service = service_find(&scratch->key.dst, scratch->key.dst_port, scratch->key.protocol);
	if (!service)
		return -DROP_NO_ENDPOINT;
	return admit(pkt, &scratch->key, &scratch->flow, service, src->container | FALLBACK_CLIENT);
}

static __always_inline int fallback_packet(struct __sk_buff *skb, const struct packet *pkt,
					   const struct endpoint *src, struct scratch *scratch)
{
	enum lead found;
	int err = 0;

	if (!flow_has_ports(pkt->protocol))
		return -DROP_NO_ENDPOINT;
	scratch->key = flow_key_of(pkt);
	found = lead_find(pkt, &scratch->key, &scratch->flow);
	if (found == LEAD_ENDED && !packet_opens(pkt))
		return -DROP_REFUSED;
	if (found != LEAD_HOLDS)
		err = fallback_open(skb, pkt, src) ?: fallback_admit(pkt, src);
	return err ? err : deliver_change(skb, pkt, &scratch->flow, NULL);
}

/* An ICMP error about an answer: the backend is to know it again. */
static __noinline int fallback_error(struct __sk_buff *skb, const struct packet *pkt)
{
	struct scratch *scratch = scratch_get();
	struct flow *found;

	if (!scratch || !pkt || !quote_read(skb, pkt, &scratch->quote) ||
	    !quote_may_come(pkt, &scratch->quote))
		return -DROP_NO_ENDPOINT;
	found = bpf_map_lookup_elem(&inner_flows, &scratch->quote.key);
	if (!found)
		return -DROP_NO_ENDPOINT;
	scratch->flow = *found;
	if (!(scratch->flow.flags & FLOW_LED) || scratch->flow.tag != flow_tag(&scratch->quote.key))
		return -DROP_NO_ENDPOINT;
	return deliver_change(skb, pkt, &scratch->flow, &scratch->quote);
}

/* 0: it is for `fallback_backend` now, and says so; else a reason. */
static __always_inline int fallback(struct __sk_buff *skb, struct packet *pkt,
				    const struct endpoint *src)
{
	struct scratch *scratch = scratch_get();
	int err;

	if (!scratch)
		return -DROP_NO_ENDPOINT;
	if (pkt->flags & PACKET_ICMP_ERROR)
		err = fallback_error(skb, pkt);
	else
		err = fallback_packet(skb, pkt, src, scratch);
	if (err)
		return err;
	scratch->led = scratch->flow;
	pkt->flags |= PACKET_LED;
	led_note(src);
	return 0;
}

static __always_inline const struct addr *fallback_backend(void)
{
	struct scratch *scratch = scratch_get();

	return scratch ? &scratch->led.dst : NULL;
}

/* It does not go on: what the refusal quotes is what was sent. */
static __noinline void fallback_undo(struct __sk_buff *skb, struct packet *pkt)
{
	struct scratch *scratch = scratch_get();
	struct flow *sent, *led;

	if (!scratch || !pkt)
		return;
	sent = &scratch->flow;
	led = &scratch->led;
	sent->src = pkt->src;
	sent->dst = pkt->dst;
	sent->src_port = pkt->src_port;
	sent->dst_port = pkt->dst_port;
	pkt->src = led->src;
	pkt->dst = led->dst;
	pkt->src_port = led->src_port;
	pkt->dst_port = led->dst_port;
	deliver_change(skb, pkt, sent, NULL);
	pkt->src = sent->src;
	pkt->dst = sent->dst;
	pkt->src_port = sent->src_port;
	pkt->dst_port = sent->dst_port;
}
