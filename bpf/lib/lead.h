/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whether a flow still leads to the backend that it was led to (fallback.h). */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include "flow.h"
#include "judge.h"
#include "over.h"
#include "packet.h"
#include "tracking.h"

enum lead {
	LEAD_UNKNOWN,
	LEAD_HOLDS,
	LEAD_ENDED, /* its backend is none any more, or its client another one */
};

/* The backends are gone through once after a change, and not with each packet: of a connection to one
 * that left that is noted. Once more when its time is over: it may be one again.
 */
static __always_inline bool lead_stands(const struct flow_key *key, struct flow *flow, bool new)
{
	__u32 flags = flow_backend_flags(key, flow);

	if (flags && new)
		return false;
	if (!((flow->flags ^ flags) & FLOW_LEFT))
		return true;
	flow->flags ^= FLOW_LEFT;
	flow_put(key, flow, BPF_ANY);
	return true;
}

/* Datagrams open nothing, so each may be led elsewhere. A connection to a backend that left goes on for as
 * long as it has to drain.
 */
static __noinline bool lead_holds(const struct flow_key *key, struct flow *flow, bool opens)
{
	bool new = opens || (key && key->protocol != IPPROTO_TCP);
	__u32 epoch = epoch_now();
	bool over;

	if (!key || !flow)
		return false;
	if (flow->epoch == epoch && !opens && !(flow->flags & FLOW_LEFT))
		return true;
	over = flow->flags & FLOW_LEFT && !flow_lingers(key, flow);
	if (flow->epoch != epoch || opens || over) {
		flow->epoch = epoch;
		if (!flow_container_holds(key, flow) || !lead_stands(key, flow, new))
			return false;
	}
	return !(flow->flags & FLOW_LEFT) || flow_lingers(key, flow);
}

/* A packet that opens a connection anew is led anew; one sent once more to the same, if that one gets new
 * ones.
 */
static __noinline enum lead lead_find(const struct packet *pkt, const struct flow_key *key,
				      struct flow *flow)
{
	struct flow *found;
	bool opens;

	if (!pkt || !key || !flow)
		return LEAD_UNKNOWN;
	found = bpf_map_lookup_elem(&inner_flows, key);
	if (!found)
		return LEAD_UNKNOWN;
	flow_hear(found, pkt->flags);
	*flow = *found;
	if (!(flow->flags & FLOW_LED) || flow->tag != flow_tag(key))
		return LEAD_UNKNOWN;
	flow_count(key, found, flow->flags, pkt->flags);
	flow->flags = found->flags;
	opens = pkt->flags & PACKET_OPENS;
	if ((opens && flow_is_over(key, flow)) || !lead_holds(key, flow, opens)) {
		flow_forget(key, flow);
		return LEAD_ENDED;
	}
	found->epoch = flow->epoch;
	if (flow_refresh(key, flow))
		found->seen = flow->seen;
	return LEAD_HOLDS;
}
