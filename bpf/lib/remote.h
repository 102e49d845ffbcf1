/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The addresses of other hosts: their blocks, and their own in the cluster. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "endpoint.h"
#include "network.h"
#include "next_hop.h"
#include "underlay.h"

#define REMOTE_OPEN    1 /* as ENDPOINT_OPEN: of its network */
#define REMOTE_HOST    2 /* the host's own address, in no network */
#define REMOTE_LATENCY 4 /* its network goes by what takes least time */

struct remote {
	__u32 host; /* its number */
	__u32 network;
	__u32 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, struct remote);
} remotes SEC(".maps");

static __always_inline const struct remote *remote_find(const struct addr *addr)
{
	struct prefix key = { .length = 128, .addr = *addr };

	if (!underlay_find())
		return NULL;
	return bpf_map_lookup_elem(&remotes, &key);
}

/* Which path leads there: a key of `paths`. */
static __always_inline __u32 remote_path(const struct remote *remote)
{
	return remote->flags & REMOTE_LATENCY ? remote->host | PATH_LATENCY : remote->host;
}

/* Hosts are reached from all networks, and reach all. */
static __always_inline bool remote_reaches(const struct remote *remote,
					   const struct endpoint *endpoint)
{
	return remote->flags & REMOTE_HOST ||
	       network_reaches(remote->network, endpoint->network,
			       remote->flags & endpoint->flags & ENDPOINT_OPEN);
}
