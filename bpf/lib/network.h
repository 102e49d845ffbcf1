/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Networks: the subnets that are ours, and which networks reach each other. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "endpoint.h"

struct prefix {
	__u32 length; /* of 128 bits: an IPv4 prefix counts from 96 */
	struct addr addr;
};

#define NETWORK_SERVICES 0xffffffffu /* instead of a number: VIPs, which no endpoint has */

struct subnet {
	__u32 network;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, struct subnet);
} subnets SEC(".maps");

struct connection {
	__u32 from;
	__u32 to;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct connection); /* both directions are entered */
	__type(value, __u32);
} connections SEC(".maps");

static __always_inline const struct subnet *subnet_find(const struct addr *addr)
{
	struct prefix key = { .length = 128, .addr = *addr };

	return bpf_map_lookup_elem(&subnets, &key);
}

/* `open`: both are reached from other open networks. */
static __always_inline bool network_reaches(__u32 from, __u32 to, bool open)
{
	struct connection key = { .from = from, .to = to };

	return from == to || open || bpf_map_lookup_elem(&connections, &key);
}

static __always_inline bool endpoint_reaches(const struct endpoint *from, const struct endpoint *to)
{
	return network_reaches(from->network, to->network, from->flags & to->flags & ENDPOINT_OPEN);
}
