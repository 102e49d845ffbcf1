/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Who opens a flow pays a token for it, so that no endpoint takes all places of the table. For those
 * outside the endpoint that they ask pays, yet not with what it needs to ask itself.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "clock.h"

/* A flow is two entries: what an endpoint opens at once is a quarter of the table. */
#define BUDGET_MOST	8192
#define BUDGET_PER_TICK 1024	    /* a table is turned over in half a minute at best */
#define BUDGET_OUTSIDE	0x80000000u /* what others open to the endpoint, counted apart */
#define BUDGET_FASTER	4	    /* those: what they lose can be made again */
#define BUDGET_REMOTE	0x40000000u /* beside a hash: what another host's endpoint opens */

struct budget {
	__s32 tokens; /* below zero when two CPUs spend the last one */
	__u32 filled; /* when, in ticks */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32); /* ifindex of the endpoint's device, or a hash; with whose it is */
	__type(value, struct budget);
} budgets SEC(".maps");

/* Who pays that is on another host: its device is not here. An address does as well: no endpoint sends
 * from one that is not its own.
 */
static __always_inline __u32 budget_remote(const struct addr *addr)
{
	__u32 hash = 0;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++)
		hash = (hash ^ addr->words[i]) * 0x9e3779b1;
	return hash >> 2 | BUDGET_REMOTE;
}

/* Two CPUs may both fill it, or spend the last token twice: no harm. */
static __always_inline bool budget_spend(__u32 ifindex)
{
	__u32 per_tick = BUDGET_PER_TICK * (ifindex & BUDGET_OUTSIDE ? BUDGET_FASTER : 1);
	struct budget full = { .tokens = BUDGET_MOST - 1, .filled = clock_ticks() };
	struct budget *budget = bpf_map_lookup_elem(&budgets, &ifindex);
	__s64 tokens;

	if (!budget) {
		bpf_map_update_elem(&budgets, &ifindex, &full, BPF_ANY);
		return true;
	}
	tokens = budget->tokens;
	if ((__s32)(full.filled - budget->filled) > 0) {
		tokens += (__s64)(full.filled - budget->filled) * per_tick;
		budget->filled = full.filled;
		budget->tokens = tokens < BUDGET_MOST ? tokens : BUDGET_MOST;
	}
	if (budget->tokens <= 0)
		return false;
	__sync_fetch_and_sub(&budget->tokens, 1);
	return true;
}
