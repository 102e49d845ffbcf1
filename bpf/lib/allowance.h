/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What a socket that connects takes of the limits that it is under: of its endpoint's own, and of
 * the service's that it asks. All or nothing, noted with the socket, and given back when it connects
 * elsewhere or is released.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "asker.h"
#include "client.h"
#include "limit.h"
#include "use.h"

/* `client`: 0 of an endpoint's. What cannot be counted is refused. */
static __noinline enum limited allowance_of(__u64 number, __u64 client)
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

/* Of a client that is gone the agent has given all back that it had. */
static __noinline void allowance_end(__u64 number, __u64 client)
{
	struct use_key key = { .limit = number, .client = client };

	if (client && !use_down(&uses, &key))
		return;
	key.client = 0;
	use_down(&uses, &key);
}

static __noinline void allowance_give(struct asked *asked)
{
	if (!asked)
		return;
	if (asked->service_limit)
		allowance_end(asked->service_limit, asked->netns);
	if (asked->own_limit)
		allowance_end(asked->own_limit, 0);
	asked->service_limit = asked->own_limit = 0;
}

/* `service`: the number of its limit; 0: it asks none that has one. False: it is over one of them. */
static __noinline bool allowance_take(struct asked *asked, __u64 service)
{
	enum limited limited;
	__u64 own;

	if (!asked)
		return false;
	own = client_limit(asked->netns);
	if (own) {
		limited = allowance_of(own, 0);
		if (limited == LIMITED_REFUSED)
			return false;
		if (limited == LIMITED_TAKEN)
			asked->own_limit = own;
	}
	if (!service)
		return true;
	limited = allowance_of(service, asked->netns);
	if (limited == LIMITED_TAKEN)
		asked->service_limit = service;
	if (limited == LIMITED_REFUSED)
		allowance_give(asked);
	return limited != LIMITED_REFUSED;
}
