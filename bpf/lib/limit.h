/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whether a limit of connections from this host leaves one more: of those open at once, and of new ones in a
 * second (use.h).
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
