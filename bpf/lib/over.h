/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whether the connection of a flow is over: one end has reset it, or both have closed it (flow_hear of
 * tracking.h). What opens another one from the same port begins the flow anew. One that counts, counts no
 * more.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "counted.h"
#include "flow.h"
#include "flows.h"
#include "packet.h"
#include "scratch.h"

static __noinline bool flow_is_over(const struct flow_key *key, const struct flow *flow)
{
	struct scratch *scratch = scratch_get();

	if (!scratch || !key || !flow)
		return false;
	scratch->back = flow_reverse_key(key, flow);
	return flow_ended(flow, flow_find(&scratch->back));
}

/* What opens a connection may be sent once more, and what ends one may be for another one. */
static __always_inline bool flow_replies(__u32 packet)
{
	return packet & PACKET_ACKS && !(packet & PACKET_TURNS);
}

/* What a packet says of one that counts. Who has reset it may go on all the same: that reset may not be
 * for it, and nobody looks at numbers here. So its entry stays until the sweep.
 */
static __noinline void flow_turn(const struct flow_key *key, struct flow *found, __u32 packet)
{
	bool answers = found && found->flags & FLOW_ANSWER;
	struct scratch *scratch = scratch_get();
	const struct flow_key *asked;
	struct counted *entry;
	bool over;

	if (!scratch || !key || !found)
		return;
	over = flow_is_over(key, found); /* which fills `back` */
	asked = answers ? &scratch->back : key;
	entry = counted_find(asked);
	if (!entry) { /* and there will be none: it is made before the flow */
		__sync_fetch_and_and(&found->flags, ~FLOW_COUNTED);
		return;
	}
	if (packet & PACKET_ACCEPTS && answers) {
		__sync_fetch_and_or(&entry->flags, COUNTED_ANSWERED);
	} else if (over && (answers || !(packet & PACKET_RESETS))) {
		counted_leave(asked);
	} else if (over) {
		counted_give(entry, key->protocol);
	} else if (!answers && flow_replies(packet) && entry->flags & COUNTED_ANSWERED) {
		counted_regain(entry, key->protocol);
		__sync_fetch_and_or(&entry->flags, COUNTED_MET);
		__sync_fetch_and_or(&found->flags, FLOW_MET);
	}
}

/* Who asked says something more, and had reset it. */
static __noinline void flow_lives(const struct flow_key *key, struct flow *found)
{
	struct counted *entry;

	if (!key || !found)
		return;
	__sync_fetch_and_and(&found->flags, ~FLOW_RESET);
	entry = counted_find(key);
	if (entry)
		counted_regain(entry, key->protocol);
}

/* A packet of a flow. One that an error quotes says nothing. */
static __always_inline void flow_count(const struct flow_key *key, struct flow *found, __u32 flags,
				       __u32 packet)
{
	bool asks = !(flags & FLOW_ANSWER);

	if (!(flags & FLOW_COUNTED) || packet & PACKET_ICMP_ERROR)
		return;
	if (asks && flags & FLOW_RESET && !(packet & PACKET_TURNS))
		flow_lives(key, found);
	else if (packet & PACKET_TURNS || (asks && !(flags & FLOW_MET)))
		flow_turn(key, found, packet);
}
