/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whether a flow that is remembered still holds. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include "flow.h"
#include "publication.h"
#include "tracking.h"

/* Whether what the entry was judged by still holds; then it holds for this epoch. */
static __always_inline bool flow_holds(const struct flow_key *key, struct flow *flow)
{
	const struct publication *publication;
	__u32 epoch = epoch_now();
	bool holds;

	if (flow->epoch == epoch)
		return true;
	if (flow->flags & FLOW_PLAIN)
		return false;
	if (flow->flags & FLOW_REPLY) {
		publication = publication_at(&flow->src, flow->src_port, key->protocol);
		holds = publication_leads_to(publication, &key->src, key->src_port);
	} else {
		publication = publication_at(&key->dst, key->dst_port, key->protocol);
		holds = publication_leads_to(publication, &flow->dst, flow->dst_port);
	}
	if (holds)
		flow->epoch = epoch;
	return holds;
}

/* The packet's flow, if it has one that holds. */
static __always_inline struct flow *flow_current(const struct flow_key *key)
{
	struct flow *flow = flow_find(key);

	if (!flow)
		return NULL;
	if (!flow_holds(key, flow)) {
		flow_forget(key, flow);
		return NULL;
	}
	flow_refresh(key, flow);
	return flow;
}
