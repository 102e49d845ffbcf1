/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Members: the hosts of the cluster, by where they are in the underlay. Which of them sends is all
 * that an encapsulated packet proves.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "drop.h"
#include "next_hop.h"
#include "remote.h"

struct member {
	__u32 host; /* its number */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct addr);
	__type(value, struct member);
} members SEC(".maps");

static __always_inline const struct member *member_find(const struct addr *underlay)
{
	return bpf_map_lookup_elem(&members, underlay);
}

/* Whether a packet with this source may come from there: from its own host, or from a neighbour of
 * ours, which may pass on what others send. Zero, or the reason why not. Paths are not asked: who
 * sends may know of a link's return before we have found ours.
 */
static __always_inline int member_may_send(const struct addr *underlay, const struct remote *src)
{
	const struct member *member = member_find(underlay);

	if (!member)
		return -DROP_UNKNOWN_HOST;
	if (!src)
		return -DROP_SPOOFED_ADDRESS;
	if (src->host == member->host)
		return 0;
	return next_hop_live(member->host) ? 0 : -DROP_SPOOFED_HOST;
}
