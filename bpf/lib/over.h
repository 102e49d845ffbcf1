/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whether the connection of a flow is over: one end has reset it, or both have closed it (flow_hear of
 * tracking.h). What opens another one from the same port begins the flow anew. One that counts, counts no
 * more.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "counted.h"
#include "flow.h"
#include "flows.h"
#include "packet.h"
#include "scratch.h"

static __noinline bool flow_is_over(const struct flow_key *key, const struct flow *flow)
{
	struct scratch *scratch = scratch_get();

	if (!scratch || !key || !flow)
		return false;
	scratch->back = flow_reverse_key(key, flow);
	return flow_ended(flow, flow_find(&scratch->back));
}

/* Its packet may be the one that ends it: then it counts no more. */
static __noinline void flow_settle(const struct flow_key *key, const struct flow *flow)
{
	struct scratch *scratch = scratch_get();

	if (scratch && flow_is_over(key, flow)) /* which has filled `back` */
		counted_leave(flow->flags & FLOW_ANSWER ? &scratch->back : key);
}

static __always_inline void flow_turn(const struct flow_key *key, const struct flow *flow,
				      __u32 packet)
{
	if (flow->flags & FLOW_COUNTED && packet & PACKET_TURNS)
		flow_settle(key, flow);
}
