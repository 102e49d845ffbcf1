/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whom sockets asked, and whom they named: while they speak with a backend. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "place.h"

/* Of a connected socket: dies with it. */
struct asked {
	struct place backend;
	struct place place; /* that its owner named */
	__u32 counted;	    /* in `serving` */
	__u32 pad;
	__u64 service_limit; /* that it is counted for (use.h); 0: for none */
	__u64 own_limit;     /* likewise, of its endpoint */
	__u64 netns;	     /* whose cookie it was counted by */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct asked);
} sockets SEC(".maps");

/* Of datagrams from a socket that is not connected: it may ask many. */
struct datagram_key {
	__u64 cookie;
	struct place backend;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct datagram_key);
	__type(value, struct place);
} datagrams SEC(".maps");

/* The same as for the datagram before, most often. */
static __always_inline bool datagram_note(const struct datagram_key *key, const struct place *place)
{
	const struct place *named = bpf_map_lookup_elem(&datagrams, key);

	if (named && place_equal(named, place))
		return true;
	return !bpf_map_update_elem(&datagrams, key, place, BPF_ANY);
}
