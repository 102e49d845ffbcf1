// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* No hook: the agent runs it now and then (seaway/bpf/limits.py). Of connections that count and are led packet
 * by packet it takes out those of which no packet will tell that they are over: who asked vanished, or
 * their backend left and the time to drain is over.
 *
 * It runs beside the programs of packets, on the same CPU too, so it has no scratch; and it may not ask the
 * coarse clock.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "lib/clock.h"
#include "lib/counted.h"
#include "lib/flow.h"
#include "lib/flows.h"
#include "lib/leaving.h"
#include "lib/seek.h"
#include "lib/use.h"

/* In ticks, a little more than a second each. What nobody has answered sends what opens it once more
 * after 32 s at most (RFC 6298 doubles from 1 s, and hosts try six times); the other one is what RFC 5382
 * asks of who keeps track of connections: two hours and four minutes.
 */
#define SILENT_OPENING 64
#define SILENT	       6932

static __always_inline void sweep_hear(struct counted *counted, const struct flow *flow)
{
	if (flow->flags & FLOW_MET)
		counted->met = 1;
	if ((__s32)(flow->seen - counted->seen) > 0)
		counted->seen = flow->seen;
}

/* Whether its backend left, and the time is over in which connections may go on. */
static __noinline bool sweep_left(const struct flow_key *key, const struct flow *flow, __u64 time)
{
	struct seek seek = {};

	if (!key || !flow)
		return false;
	seek_flow(&seek, key, flow);
	seek_backend(&seek);
	return seek.flags & FLOW_LEFT && !leaving_at(&seek.service, &seek.backend, time);
}

/* By its flow: two entries, which a full table may have forgotten. */
static __noinline bool sweep_over(const struct flow_key *key, struct counted *counted, __u64 time)
{
	const struct flow *flow, *answer;
	struct flow_key back;

	if (!key || !counted)
		return false;
	flow = flow_find(key);
	if (!flow)
		return false;
	back = flow_reverse_key(key, flow);
	answer = flow_find(&back);
	sweep_hear(counted, flow);
	if (answer)
		sweep_hear(counted, answer);
	return flow_ended(flow, answer) || sweep_left(key, flow, time);
}

static __always_inline bool sweep_counts(const struct counted *counted)
{
	return counted->serves || bpf_map_lookup_elem(&limits, &counted->limit);
}

static long sweep_one(void *map, const struct flow_key *from, struct counted *counted, void *unused)
{
	struct flow_key key = *from;
	__u64 time = bpf_ktime_get_ns();
	bool over = sweep_over(&key, counted, time);
	__u32 silent = clock_ticks_of(time) - counted->seen;

	if (over || !sweep_counts(counted) ||
	    (__s32)silent > (counted->met ? SILENT : SILENT_OPENING))
		counted_leave(&key);
	return 0;
}

SEC("syscall")
int sweep(void *unused)
{
	bpf_for_each_map_elem(&counted, sweep_one, NULL, 0);
	return 0;
}

/* The kernel has no word for "GPL-2.0-only OR Apache-2.0": of the two, this is the one it knows. */
char LICENSE[] SEC("license") = "GPL";
