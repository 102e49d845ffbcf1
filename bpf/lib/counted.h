/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Connections that count and are led packet by packet: for a service's limit of those at once, and where
 * the backend that has the fewest gets the next one. Of TCP: datagrams open nothing, and end nothing.
 *
 * How such a connection ends its packets say (flow_hear in tracking.h). Whoever takes its entry out of this
 * table, and nobody else, gives back what it took: so that is done once, and a full table of flows, which
 * forgets them, changes no count. Who vanishes says nothing: sweep.bpf.c takes out what is silent for too long.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "flow.h"
#include "guest.h"
#include "place.h"
#include "serving.h"

struct counted {
	__u64 limit;  /* its number; 0: of none */
	__u64 client; /* of the limit */
	struct place backend;
	__u32 serves; /* counted there */
	__u32 seen;   /* in ticks: when the sweep saw a packet of it last */
	__u32 met;    /* each end has heard the other one */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow_key); /* of who asked */
	__type(value, struct counted);
} counted SEC(".maps");

static __always_inline void counted_give(const struct counted *was, __u8 protocol)
{
	if (was->limit)
		guest_give(was->limit, was->client);
	if (was->serves)
		serving_down(&was->backend, protocol, true);
}

static __noinline void counted_leave(const struct flow_key *key)
{
	const struct counted *found = key ? bpf_map_lookup_elem(&counted, key) : NULL;
	struct counted was;

	if (!found)
		return;
	was = *found;
	if (!bpf_map_delete_elem(&counted, key))
		counted_give(&was, key->protocol);
}
