/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Limits of connections from this host: of a service by all that ask it, of an endpoint by what its
 * own sockets open. As many as are open at once, and new ones in a second (use.h).
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "use.h"

enum limited {
	LIMITED_NOT,   /* there is no limit: it is not counted */
	LIMITED_TAKEN, /* it is counted */
	LIMITED_REFUSED,
};

/* `own`: of the client; NULL: of an endpoint's, which is its own alone. `most`: connections of all, with
 * those that count no more.
 */
static __always_inline bool limit_allows(const struct limit *limit, __u64 most, struct use *all,
					 struct use *own)
{
	if (limit->connections && !limit_leaves(most, all->open, own ? own->open : 0, 1)) {
		__sync_fetch_and_add(&all->full, 1);
		return false;
	}
	return limit_paces(limit, all, own);
}

/* The last place is given once, whoever else saw it free. */
static __always_inline bool limit_enter(const struct limit *limit, __u64 most, struct use *all,
					struct use *own)
{
	__u64 open = __sync_fetch_and_add(&all->open, 1);

	if (limit->connections && open >= most) {
		__sync_fetch_and_add(&all->open, -1);
		__sync_fetch_and_add(&all->full, 1);
		return false;
	}
	__sync_fetch_and_add(&all->now, 1);
	if (!own)
		return true;
	__sync_fetch_and_add(&own->open, 1);
	__sync_fetch_and_add(&own->now, 1);
	return true;
}

/* `client`: 0 of an endpoint's. What cannot be counted is refused. */
static __noinline enum limited limit_take(__u64 number, __u64 client)
{
	const struct limit *limit = bpf_map_lookup_elem(&limits, &number);
	struct use_key key = { .limit = number };
	struct use *all, *own = NULL;
	__u64 most;

	if (!limit)
		return LIMITED_NOT;
	most = limit->connections + use_given(number);
	all = use_of(&key);
	if (client) {
		key.client = client;
		own = use_of(&key);
		if (!own) { /* the map is full */
			if (all)
				__sync_fetch_and_add(&all->full, 1);
			return LIMITED_REFUSED;
		}
	}
	if (!all || !limit_allows(limit, most, all, own) || !limit_enter(limit, most, all, own))
		return LIMITED_REFUSED;
	return LIMITED_TAKEN;
}

/* What was counted may have been forgotten since, with its limit; others may give theirs back just now.
 * False: it was, and counts no more.
 */
static __always_inline bool use_down(const struct use_key *key)
{
	struct use *use = bpf_map_lookup_elem(&uses, key);

	if (!use)
		return false;
	if (__sync_fetch_and_add(&use->open, -1))
		return true;
	__sync_fetch_and_add(&use->open, 1);
	return false;
}

/* Of a client that is gone the agent has given all back that it had. */
static __noinline void limit_give(__u64 number, __u64 client)
{
	struct use_key key = { .limit = number, .client = client };

	if (client && !use_down(&key))
		return;
	key.client = 0;
	use_down(&key);
}
