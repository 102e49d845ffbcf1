/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The tables of flows: a pair of entries for each, one a direction.
 *
 * A table forgets what was not used for the longest time. There are two, so that nobody outside
 * makes it forget who talks inside: an answer there does not tell whose it is, once it is forgotten.
 * No address is on both sides, so no key is in both tables.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "flow.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps"), inner_flows SEC(".maps");

static __always_inline struct flow *flow_find(const struct flow_key *key)
{
	struct flow *found = bpf_map_lookup_elem(&flows, key);

	return found ? found : bpf_map_lookup_elem(&inner_flows, key);
}

/* One end has reset it, or both have closed it. `other`: of the other direction; NULL: that is forgotten. */
static __always_inline bool flow_ended(const struct flow *flow, const struct flow *other)
{
	__u32 flags = other ? other->flags : 0;

	return (flow->flags | flags) & FLOW_RESET || flow->flags & flags & FLOW_CLOSED;
}
