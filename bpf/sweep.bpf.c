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
#include "lib/epoch.h"
#include "lib/flow.h"
#include "lib/flows.h"
#include "lib/leaving.h"
#include "lib/seek.h"
#include "lib/use.h"

/* In ticks, a little more than a second each. What nobody has answered sends what opens it once more
 * after 32 s at most (RFC 6298 doubles from 1 s, and hosts try six times). Of the other ones: two hours and
 * four minutes, as RFC 5382 has it for who keeps track of connections.
 */
#define SILENT_OPENING 64
#define SILENT	       6932

static __always_inline void sweep_hear(struct counted *found, const struct flow *flow)
{
	if (flow && (__s32)(flow->seen - found->seen) > 0)
		found->seen = flow->seen;
}

/* By its flow: two entries, which a full table may have forgotten. */
static __noinline void sweep_flow(const struct flow_key *key, struct counted *found)
{
	const struct flow *flow = key ? flow_find(key) : NULL;
	struct flow_key back;

	if (!flow || !found)
		return;
	back = flow_reverse_key(key, flow);
	sweep_hear(found, flow);
	sweep_hear(found, flow_find(&back));
}

/* Whether its backend left, and the time is over in which connections may go on: looked for once after each
 * change.
 */
static __noinline bool sweep_left(struct counted *found, __u64 time)
{
	__u32 epoch = epoch_now();
	struct seek seek = {};

	if (!found || found->epoch == epoch)
		return false;
	seek.service = found->service;
	seek.backend = found->backend;
	seek_backend(&seek);
	if (seek.flags & FLOW_LEFT)
		return !leaving_at(&seek.service, &seek.backend, time);
	found->epoch = epoch;
	return false;
}

/* Its limit may be gone: then there is nothing of it to be given back. */
static __always_inline bool sweep_counts(struct counted *found)
{
	if (found->limit && !bpf_map_lookup_elem(&limits, &found->limit))
		found->limit = 0;
	return found->limit || found->flags & COUNTED_SERVES;
}

static __always_inline bool sweep_silent(const struct counted *found, __u64 time)
{
	bool open = found->flags & COUNTED_MET && !found->given;
	__u32 silent = clock_ticks_of(time) - found->seen;

	return (__s32)silent > (open ? SILENT : SILENT_OPENING);
}

static long sweep_one(void *map, const struct flow_key *from, struct counted *found, void *unused)
{
	struct flow_key key = *from;
	__u64 time = bpf_ktime_get_ns();

	sweep_flow(&key, found);
	if (sweep_silent(found, time) || !sweep_counts(found) || sweep_left(found, time))
		counted_leave(&key);
	return 0;
}

SEC("syscall")
int sweep(void *unused)
{
	bpf_for_each_map_elem(&counted, sweep_one, NULL, 0);
	bpf_for_each_map_elem(&balanced, sweep_one, NULL, 0);
	return 0;
}

/* The kernel has no word for "GPL-2.0-only OR Apache-2.0": of the two, this is the one it knows. */
char LICENSE[] SEC("license") = "GPL";
