/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Next hops: by which host another one is reached, and where that is in the underlay. A link that
 * dies is one entry, in `dead`: all paths that began with it go on by their backups, or by those
 * that are as near.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"

#define PATH_LATENCY 0x40000000u /* beside a host's number: the path that takes least time */
#define PATH_SHARE   28 /* two bits beside it: by which of the next hops that are as near */

struct path {
	__u32 via;    /* numbers of hosts */
	__u32 backup; /* leads there without a loop; 0: there is none */
	__u32 second; /* as near as `via`, so flows are shared over them; 0: there is none */
	__u32 third;
	__u32 fourth;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* number of the host to be reached, perhaps with PATH_LATENCY */
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

static __always_inline __u32 path_share(__u32 key)
{
	return key >> PATH_SHARE & 3;
}

/* Without the share: the path that flows are shared over. */
static __always_inline const struct path *path_find(__u32 key)
{
	key &= ~(3u << PATH_SHARE);
	return bpf_map_lookup_elem(&paths, &key);
}

static __always_inline __u32 path_shares(const struct path *path)
{
	return 1 + !!path->second + !!path->third + !!path->fourth;
}

/* Of those that are as near, by the number of a share. */
static __always_inline const struct next_hop *path_share_hop(const struct path *path, __u32 share)
{
	return next_hop_live(share == 1 ? path->second : share == 2 ? path->third : path->fourth);
}

/* For a share of the flows. NULL: every link by which it may go is dead. */
static __always_inline const struct next_hop *path_next(const struct path *path, __u32 share)
{
	const struct next_hop *found = share ? path_share_hop(path, share) : NULL;
	__u32 other;

	if (!found)
		found = next_hop_live(path->via);
	if (!found)
		found = next_hop_live(path->backup);
	for (other = 1; other <= 3 && !found; other++)
		found = path_share_hop(path, other);
	return found;
}
