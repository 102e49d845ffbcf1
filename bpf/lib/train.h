/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Trains: packets that the kernel has put together (GSO). From an encapsulated one only its device
 * can take the outer headers, and there it waits for a moment: what follows it in its flow must not
 * overtake it by the short cut.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "clock.h"

#define TRAIN_FLOWS 256
#define TRAIN_TICK  23 /* ticks of 2^23 ns: 8 ms */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TRAIN_FLOWS);
	__type(key, __u32); /* by the flow's hash, which the sender has put into the source port */
	__type(value, __u32); /* the tick of the last one */
} trains SEC(".maps");

/* Whether this packet is one, or may still have one before it: that waits no longer than a tick. */
static __always_inline bool train_is(const struct __sk_buff *skb, __be16 port)
{
	__u32 flow = bpf_ntohs(port) % TRAIN_FLOWS, now = clock_now() >> TRAIN_TICK;
	__u32 *last = bpf_map_lookup_elem(&trains, &flow);

	if (!last)
		return true;
	if (skb->gso_size)
		*last = now;
	return now - *last <= 1;
}
