/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whether a flow that is remembered still holds.
 *
 * What is not static the verifier walks through once (parse.h), and not at each call.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include "clock.h"
#include "endpoint.h"
#include "flow.h"
#include "frontend.h"
#include "leaving.h"
#include "over.h"
#include "publication.h"
#include "remote.h"
#include "seek.h"
#include "tracking.h"

/* An address may have been given to another container since. */
static __always_inline bool flow_container_holds(const struct flow_key *key,
						 const struct flow *flow)
{
	bool plain = flow->flags & FLOW_PLAIN, answers = flow->flags & FLOW_ANSWER;
	const struct endpoint *end;

	if (!flow->container)
		return true;
	if (plain || flow->ingress)
		end = endpoint_find(answers ? &key->src : &key->dst);
	else
		end = endpoint_find(answers ? &flow->dst : &key->src);
	return end && (__u32)end->container == flow->container;
}

__noinline bool flow_publication_holds(const struct flow_key *key, const struct flow *flow)
{
	const struct publication *publication;

	if (!key || !flow)
		return false;
	if (flow->flags & FLOW_ANSWER) {
		publication = publication_find(&flow->src, flow->src_port, key->protocol);
		return publication_leads_to(publication, &key->src, key->src_port);
	}
	publication = publication_find(&key->dst, key->dst_port, key->protocol);
	return publication_leads_to(publication, &flow->dst, flow->dst_port);
}

/* What its flags say of the backend of a flow. */
__noinline __u32 flow_backend_flags(const struct flow_key *key, const struct flow *flow)
{
	struct seek seek = {};

	if (!key || !flow)
		return FLOW_PARTING | FLOW_LEFT;
	seek_flow(&seek, key, flow);
	seek_backend(&seek);
	return seek.flags;
}

/* Whether the backend is still where the flow goes: on this host, or on another one. */
static __always_inline bool flow_leads(const struct flow *flow)
{
	if (endpoint_find(&flow->dst))
		return !flow->ingress;
	return (flow->ingress || flow->flags & FLOW_INNER) && remote_find(&flow->dst);
}

/* Whether the time is still on in which a connection may end whose backend, or whose service, left. */
__noinline bool flow_lingers(const struct flow_key *key, const struct flow *flow)
{
	struct seek seek = {};

	if (!key || !flow || key->protocol != IPPROTO_TCP)
		return false;
	seek_flow(&seek, key, flow);
	return leaving_is(&seek.service, &seek.backend);
}

/* Whether a flow goes on after a change. A connection lives on where its backend gets no new ones, or
 * where its service is no more, datagrams go to another one.
 */
static __noinline bool flow_service_holds(const struct flow_key *key, struct flow *flow)
{
	__u32 flags;

	if (!key || !flow)
		return false;
	if (flow->flags & FLOW_ANSWER)
		return frontend_find(&flow->src, flow->src_port, key->protocol) ||
		       flow_lingers(key, flow);
	if (!frontend_find(&key->dst, key->dst_port, key->protocol) && !flow_lingers(key, flow))
		return false;
	if (!flow_leads(flow))
		return false;
	flags = flow_backend_flags(key, flow);
	if (flags && key->protocol != IPPROTO_TCP)
		return false;
	if (flags != (flow->flags & (FLOW_PARTING | FLOW_LEFT))) {
		flow->flags = (flow->flags & ~(FLOW_PARTING | FLOW_LEFT)) | flags;
		flow_put(key, flow, BPF_ANY);
	}
	return true;
}

/* Where another host was asked, that one knows. */
static __always_inline bool flow_port_holds(const struct flow_key *key, struct flow *flow)
{
	if (flow->flags & FLOW_SERVICE)
		return flow_service_holds(key, flow);
	return flow->flags & (FLOW_PLAIN | FLOW_LED) || flow->ingress ||
	       flow_publication_holds(key, flow);
}

/* Whether what the entry was judged by still holds; then it holds for this epoch. */
static __always_inline bool flow_holds(const struct flow_key *key, struct flow *flow)
{
	__u32 epoch = epoch_now();

	if (flow->epoch == epoch)
		return true;
	flow->epoch = epoch;
	return flow_container_holds(key, flow) && flow_port_holds(key, flow);
}

/* Apart, as it needs the stack: once in a tick. */
__noinline bool flow_keep(const struct flow_key *key, struct flow *flow)
{
	return key && flow && flow_refresh(key, flow);
}

/* The packet's flow, if it has one that holds: what it says is copied into the scratch. A table that
 * is full may have given the entry to another flow while we read it: the tag tells. `packet`: flags of
 * one of the flow; PACKET_ICMP_ERROR: it is quoted.
 */
static __noinline bool flow_current(const struct flow_key *key, __u32 packet)
{
	struct scratch *scratch = scratch_get();
	struct flow *found = flow_find(key), *flow;

	if (!scratch || !found)
		return false;
	flow_hear(found, packet);
	flow = &scratch->flow;
	*flow = *found;
	if (flow->tag != flow_tag(key))
		return false;
	flow_count(key, found, flow->flags, packet);
	flow->flags = found->flags;
	if (!flow_holds(key, flow)) {
		flow_forget(key, flow);
		return false;
	}
	found->epoch = flow->epoch;
	if (flow->seen != clock_ticks() && flow_keep(key, flow))
		found->seen = flow->seen;
	return true;
}
