/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Limits of connections, what is used of them, and by whom: how it is counted, and shared. Who counts are
 * sockets (limit.h), and those who ask by packets (guest.h).
 *
 * Of a service's limit a client that has some takes another only while it has less than LIMIT_SHARE times
 * what it leaves free: so all that want many get equally many, and who has none finds a place
 * (docs/decisions/flow-control.md).
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "clock.h"

#define LIMIT_SHARE  4
#define LIMIT_PART   1024 /* of one connection, as those of the last second are reckoned */
#define LIMIT_SECOND 1000000000ull

struct limit {
	__u32 connections; /* at once; 0: as many as one likes */
	__u32 rate;	   /* new ones in a second; 0: likewise */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64); /* a number that the agent makes of a name */
	__type(value, struct limit);
} limits SEC(".maps");

#define USE_GIVEN 0xffffffffffffffff /* what clients had open that are gone: the agent writes it */

struct use_key {
	__u64 limit;
	__u64 client; /* the cookie of its network namespace; 0: all together; USE_GIVEN */
};

struct use {
	__u64 open;
	__u64 second; /* of the kernel's clock, in which `now` were opened */
	__u64 full;   /* refused, as too many were open */
	__u64 fast;   /* refused, as too many were opened */
	__u32 now;
	__u32 before; /* in the second before it */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct use_key);
	__type(value, struct use);
} uses SEC(".maps");

/* What is noted there, or is from now on; NULL: it is full. */
static __always_inline struct use *use_in(void *map, const struct use_key *key)
{
	struct use *use = bpf_map_lookup_elem(map, key), none = {};

	if (use)
		return use;
	bpf_map_update_elem(map, key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(map, key);
}

static __always_inline struct use *use_of(const struct use_key *key)
{
	return use_in(&uses, key);
}

/* What was counted may have been forgotten since, with its limit; others may give theirs back just now.
 * False: it was, and counts no more.
 */
static __always_inline bool use_down(void *map, const struct use_key *key)
{
	struct use *use = bpf_map_lookup_elem(map, key);

	if (!use)
		return false;
	if (__sync_fetch_and_add(&use->open, -1))
		return true;
	__sync_fetch_and_add(&use->open, 1);
	return false;
}

/* Of what all have open that counts no more: nobody gives it back. */
static __always_inline __u64 use_given(__u64 number)
{
	struct use_key key = { .limit = number, .client = USE_GIVEN };
	const struct use *use = bpf_map_lookup_elem(&uses, &key);

	return use ? use->open : 0;
}

/* Opened in the last second, in parts: those of the second before count as if they had been spread
 * over it. Who comes first in a new second turns the page.
 */
static __always_inline __u64 use_lately(struct use *use, __u64 time)
{
	__u64 second = time / LIMIT_SECOND, at = use->second;
	__u64 passed = time % LIMIT_SECOND * LIMIT_PART / LIMIT_SECOND;

	if (at != second && __sync_val_compare_and_swap(&use->second, at, second) == at) {
		use->before = at + 1 == second ? use->now : 0;
		use->now = 0;
	}
	return use->before * (LIMIT_PART - passed) + (__u64)use->now * LIMIT_PART;
}

/* Whether who has `own` of what is limited to `most`, and of which all have `taken`, may have one
 * more, each of them `one` large.
 */
static __always_inline bool limit_leaves(__u64 most, __u64 taken, __u64 own, __u64 one)
{
	if (taken >= most)
		return false;
	return !own || own + LIMIT_SHARE * one < LIMIT_SHARE * (most - taken);
}

/* Whether one more may be opened in this second. `own`: of the client; NULL: of an endpoint's, which is
 * its own alone.
 */
static __always_inline bool limit_paces(const struct limit *limit, struct use *all, struct use *own)
{
	__u64 time = clock_now(), lately;

	if (!limit->rate)
		return true;
	lately = use_lately(all, time);
	if (limit_leaves((__u64)limit->rate * LIMIT_PART, lately, own ? use_lately(own, time) : 0,
			 LIMIT_PART))
		return true;
	__sync_fetch_and_add(&all->fast, 1);
	return false;
}
