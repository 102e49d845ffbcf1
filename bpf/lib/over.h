/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whether the connection of a flow is over: one end has reset it, or both have closed it (flow_hear of
 * tracking.h). What opens another one from the same port begins the flow anew.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "flow.h"
#include "scratch.h"
#include "tracking.h"

static __noinline bool flow_is_over(const struct flow_key *key, const struct flow *flow)
{
	struct scratch *scratch = scratch_get();
	const struct flow *other;
	__u32 flags;

	if (!scratch || !key || !flow)
		return false;
	scratch->back = flow_reverse_key(key, flow);
	other = flow_find(&scratch->back);
	flags = other ? other->flags : 0;
	return (flow->flags | flags) & FLOW_RESET || flow->flags & flags & FLOW_CLOSED;
}
