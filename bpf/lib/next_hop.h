/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Next hops: by which host another one is reached, and where that is in the underlay. A link that
 * dies is one entry, in `dead`: all paths that began with it go on by their backups.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"

#define PATH_LATENCY 0x40000000u /* beside a host's number: the path that takes least time */

struct path {
	__u32 via;    /* numbers of hosts */
	__u32 backup; /* leads there without a loop; 0: there is none */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key,
	       __u32); /* number of the host that is to be reached, perhaps with PATH_LATENCY */
	__type(value, struct path);
} paths SEC(".maps");

#define NEXT_HOP_OVERLAY 1 /* packets may go there encapsulated */
#define NEXT_HOP_DIRECT	 2 /* as they are, where the underlay leads there without a router */

struct next_hop {
	struct addr underlay;
	__u32 host; /* its number */
	__u32 flags;
	__u32 device; /* of our overlay, where goes in what came directly and is not for an endpoint */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* number of the host */
	__type(value, struct next_hop);
} next_hops SEC(".maps");

/* Written by who watches the links, and by nobody else. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* number of the host to which the link is dead */
	__type(value, __u32);
} dead SEC(".maps");

/* NULL: there is no link to that host, or it is dead. */
static __always_inline const struct next_hop *next_hop_live(__u32 host)
{
	if (!host || bpf_map_lookup_elem(&dead, &host))
		return NULL;
	return bpf_map_lookup_elem(&next_hops, &host);
}

static __always_inline const struct next_hop *next_hop_to(__u32 key)
{
	const struct path *path = bpf_map_lookup_elem(&paths, &key);
	const struct next_hop *found;

	if (!path)
		return NULL;
	found = next_hop_live(path->via);
	return found ? found : next_hop_live(path->backup);
}
