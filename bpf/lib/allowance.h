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

static __noinline void allowance_give(struct asked *asked)
{
	if (!asked)
		return;
	if (asked->service_limit)
		limit_give(asked->service_limit, asked->netns);
	if (asked->own_limit)
		limit_give(asked->own_limit, 0);
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
		limited = limit_take(own, 0);
		if (limited == LIMITED_REFUSED)
			return false;
		if (limited == LIMITED_TAKEN)
			asked->own_limit = own;
	}
	if (!service)
		return true;
	limited = limit_take(service, asked->netns);
	if (limited == LIMITED_TAKEN)
		asked->service_limit = service;
	if (limited == LIMITED_REFUSED)
		allowance_give(asked);
	return limited != LIMITED_REFUSED;
}
