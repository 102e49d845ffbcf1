/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whether a flow that is remembered still holds. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include "endpoint.h"
#include "flow.h"
#include "publication.h"
#include "tracking.h"

/* An address may have been given to another container since. */
static __always_inline bool flow_container_holds(const struct flow_key *key,
						 const struct flow *flow)
{
	bool plain = flow->flags & FLOW_PLAIN, answers = flow->flags & FLOW_ANSWER;
	const struct endpoint *end;

	if (!flow->container)
		return true;
	if (plain)
		end = endpoint_find(answers ? &key->src : &key->dst);
	else
		end = endpoint_find(answers ? &flow->dst : &key->src);
	return end && (__u32)end->container == flow->container;
}

static __always_inline bool flow_publication_holds(const struct flow_key *key,
						   const struct flow *flow)
{
	const struct publication *publication;

	if (flow->flags & FLOW_ANSWER) {
		publication = publication_find(&flow->src, flow->src_port, key->protocol);
		return publication_leads_to(publication, &key->src, key->src_port);
	}
	publication = publication_find(&key->dst, key->dst_port, key->protocol);
	return publication_leads_to(publication, &flow->dst, flow->dst_port);
}

/* Whether what the entry was judged by still holds; then it holds for this epoch. */
static __always_inline bool flow_holds(const struct flow_key *key, struct flow *flow)
{
	__u32 epoch = epoch_now();
	bool holds;

	if (flow->epoch == epoch)
		return true;
	holds = flow_container_holds(key, flow) &&
		(flow->flags & (FLOW_PLAIN | FLOW_LED) || flow_publication_holds(key, flow));
	if (holds)
		flow->epoch = epoch;
	return holds;
}

/* The packet's flow, if it has one that holds: what it says is copied into the scratch. A table that
 * is full may have given the entry to another flow while we read it: the tag tells.
 */
static __noinline bool flow_current(const struct flow_key *key)
{
	struct scratch *scratch = scratch_get();
	struct flow *found = flow_find(key), *flow;

	if (!scratch || !found)
		return false;
	flow = &scratch->flow;
	*flow = *found;
	if (flow->tag != flow_tag(key))
		return false;
	if (!flow_holds(key, flow)) {
		flow_forget(key, flow);
		return false;
	}
	found->epoch = flow->epoch;
	if (flow_refresh(key, flow))
		found->seen = flow->seen;
	return true;
}
