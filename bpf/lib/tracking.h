/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Connection tracking, for the flows that need it: those that are translated, and those that an
 * endpoint may only answer. A flow is a pair of entries, one for each direction.
 *
 * An entry was judged under an epoch (epoch.h), and is judged again by its next packet under another one.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "budget.h"
#include "clock.h"
#include "counted.h"
#include "epoch.h"
#include "flow.h"
#include "flows.h"
#include "scratch.h"

#define FLOW_TRIES \
	4 /* ports, where another flow has taken the client's: unrolled, as 6.1 wants it */

/* All that is neither an address nor a port. Where it is made may hold what the flow before it was. */
static __always_inline void flow_begin(struct flow *flow, __u32 epoch, __u32 flags, __u32 container)
{
	flow->epoch = epoch;
	flow->seen = clock_ticks();
	flow->flags = flags;
	flow->container = container;
	flow->ingress = 0;
}

/* Each direction notes how it ends: whoever waits for a backend's connections counts those that are
 * not over (seaway/bpf/running.py). Of bits alone: a full table may have given the entry away. Who asks a
 * service takes nothing back by a packet that opens: where it opens anything, the flow is begun anew
 * (over.h).
 */
static __always_inline void flow_hear(struct flow *found, __u32 packet)
{
	__u32 flags = found->flags;

	if (!(packet & PACKET_TURNS))
		return;
	if (packet & (PACKET_OPENS | PACKET_ACCEPTS)) {
		if (flags & FLOW_ANSWER || !(flags & (FLOW_SERVICE | FLOW_LED)))
			__sync_fetch_and_and(&found->flags, ~FLOW_OVER);
	} else if (packet & PACKET_RESETS)
		__sync_fetch_and_or(&found->flags, FLOW_RESET);
	else
		__sync_fetch_and_or(&found->flags, FLOW_CLOSED);
}

static __always_inline bool flow_put(const struct flow_key *key, struct flow *flow, __u64 how)
{
	flow->tag = flow_tag(key);
	if (flow->flags & FLOW_INNER)
		return !bpf_map_update_elem(&inner_flows, key, flow, how);
	return !bpf_map_update_elem(&flows, key, flow, how);
}

/* Enter both directions. Where another flow has the way back already, this one goes on from
 * another port of the client's. False: no such port was found.
 */
static __noinline bool flow_enter(const struct flow_key *key, struct flow *flow)
{
	struct scratch *scratch = scratch_get();
	struct flow *found;
	int i;

	if (!key || !flow || !scratch)
		return false;
	scratch->reverse = flow_reverse(key, flow);
#pragma unroll
	for (i = 0; i < FLOW_TRIES; i++) {
		scratch->back = flow_reverse_key(key, flow);
		if (flow_put(&scratch->back, &scratch->reverse, BPF_NOEXIST))
			break;
		found = flow_find(&scratch->back);
		if (found && flow_says(found, &scratch->reverse)) {
			found->epoch = flow->epoch;
			break;
		}
		flow->src_port = bpf_htons(0x8000 | (bpf_get_prandom_u32() & 0x7fff));
	}
	return i < FLOW_TRIES && flow_put(key, flow, BPF_ANY);
}

static __noinline void flow_forget(const struct flow_key *key, const struct flow *flow)
{
	struct scratch *scratch = scratch_get();

	if (!scratch || !key || !flow)
		return;
	scratch->back = flow_reverse_key(key, flow);
	if (flow->flags & FLOW_COUNTED)
		counted_leave(flow->flags & FLOW_ANSWER ? &scratch->back : key);
	if (flow->flags & FLOW_INNER) {
		bpf_map_delete_elem(&inner_flows, &scratch->back);
		bpf_map_delete_elem(&inner_flows, key);
	} else {
		bpf_map_delete_elem(&flows, &scratch->back);
		bpf_map_delete_elem(&flows, key);
	}
}

/* Once in a tick a direction in use sees to it that the other one is not forgotten: to look it up
 * is to use it. True: it did.
 */
static __always_inline bool flow_refresh(const struct flow_key *key, struct flow *flow)
{
	struct scratch *scratch = scratch_get();
	__u32 now = clock_ticks();

	if (flow->seen == now || !scratch)
		return false;
	flow->seen = now;
	scratch->back = flow_reverse_key(key, flow);
	if (flow_find(&scratch->back))
		return true;
	scratch->reverse = flow_reverse(key, flow);
	flow_put(&scratch->back, &scratch->reverse, BPF_NOEXIST);
	return true;
}
