/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Connections that count and are led packet by packet: for a service's limit of those at once, and where
 * the backend that has the fewest gets the next one. Of TCP: datagrams open nothing, and end nothing.
 *
 * How such a connection ends its packets say (over.h). Whoever gives back what it took marks its entry
 * first, and nobody gives twice: so a full table of flows, which forgets them, changes no count. Who vanishes
 * says nothing: sweep.bpf.c finds what is silent for too long.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "flow.h"
#include "guest.h"
#include "place.h"
#include "publication.h"
#include "serving.h"

#define COUNTED_SERVES	 1 /* it is counted for its backend */
#define COUNTED_ANSWERED 2 /* the backend has accepted it */
#define COUNTED_MET	 4 /* and who asked has heard that */

struct counted {
	__u64 limit;  /* its number; 0: of none */
	__u64 client; /* of the limit */
	struct port_key service;
	struct place backend;
	__u32 flags;
	__u32 seen;  /* in ticks: when the sweep saw a packet of it last */
	__u32 epoch; /* of the last one in which its backend was looked for */
	__u32 given; /* back, what it took: then it counts no more */
};

#define COUNTED_GIVEN 1 /* it may take it again (counted_regain) */
#define COUNTED_GONE  2 /* whoever said so takes it out of the table, and nobody else */

/* Two, so that nothing without a limit takes the places of what has one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow_key); /* of who asked */
	__type(value, struct counted);
} counted SEC(".maps"), balanced SEC(".maps");

static __always_inline struct counted *counted_find(const struct flow_key *key)
{
	struct counted *found = bpf_map_lookup_elem(&counted, key);

	return found ? found : bpf_map_lookup_elem(&balanced, key);
}

static __always_inline void counted_return(const struct counted *found, __u8 protocol)
{
	if (found->limit)
		guest_give(found->limit, found->client);
	if (found->flags & COUNTED_SERVES)
		serving_down(&found->backend, protocol, true);
}

static __always_inline void counted_give(struct counted *found, __u8 protocol)
{
	if (!__sync_val_compare_and_swap(&found->given, 0, COUNTED_GIVEN))
		counted_return(found, protocol);
}

/* It said that it is over, and goes on: nobody is asked whether there is room. */
static __always_inline void counted_regain(struct counted *found, __u8 protocol)
{
	if (__sync_val_compare_and_swap(&found->given, COUNTED_GIVEN, 0) != COUNTED_GIVEN)
		return;
	if (found->limit)
		guest_regain(found->limit, found->client);
	if (found->flags & COUNTED_SERVES)
		serving_up(&found->backend, protocol, true);
}

/* It is over for good. */
static __noinline void counted_leave(const struct flow_key *key)
{
	struct counted *found = key ? counted_find(key) : NULL;
	__u32 given;

	if (!found)
		return;
	given = __sync_lock_test_and_set(&found->given, COUNTED_GONE);
	if (given == COUNTED_GONE)
		return;
	if (!given)
		counted_return(found, key->protocol);
	if (bpf_map_delete_elem(&counted, key))
		bpf_map_delete_elem(&balanced, key);
}
