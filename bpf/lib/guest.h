/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What those who ask a service by packets take of its limit (use.h): by its ports on hosts, and by a VIP
 * where no hook sees the socket. A client is an address there, or a container.
 *
 * What each of them has lies in a table of its own, which forgets: outside one may have any number of
 * addresses, and is not to drive out those whose sockets are counted. What all have together is one
 * number, for sockets and packets.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "use.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct use_key); /* its client is the hash of an address, or a container */
	__type(value, struct use);
} guests SEC(".maps");

static __always_inline void guest_regain(__u64 number, __u64 client)
{
	struct use_key key = { .limit = number };
	struct use *use = bpf_map_lookup_elem(&uses, &key);

	if (use)
		__sync_fetch_and_add(&use->open, 1);
	key.client = client;
	use = bpf_map_lookup_elem(&guests, &key);
	if (use)
		__sync_fetch_and_add(&use->open, 1);
}

/* Of the client it may be forgotten, not of all. */
static __always_inline void guest_give(__u64 number, __u64 client)
{
	struct use_key key = { .limit = number, .client = client };

	use_down(&guests, &key);
	key.client = 0;
	use_down(&uses, &key);
}
