/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A host asks an endpoint that must not ask hosts: its answers are to be known. An error asks
 * nothing; the endpoint itself may have caused it.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "budget.h"
#include "drop.h"
#include "endpoint.h"
#include "flow.h"
#include "judge.h"
#include "packet.h"
#include "scratch.h"
#include "tracking.h"

static __noinline int remember_host(const struct packet *pkt, const struct endpoint *dst)
{
	struct scratch *scratch = scratch_get();
	struct flow *flow;

	if (!scratch || pkt->flags & PACKET_ICMP_ERROR)
		return 0;
	scratch->key = flow_key_of(pkt);
	if (flow_current(&scratch->key))
		return 0;
	flow = &scratch->flow;
	flow->src = scratch->key.src;
	flow->dst = scratch->key.dst;
	flow->src_port = scratch->key.src_port;
	flow->dst_port = scratch->key.dst_port;
	flow->epoch = epoch_now();
	flow->seen = clock_ticks();
	flow->flags = FLOW_PLAIN | FLOW_INNER;
	flow->container = dst->container;
	return budget_spend(dst->ifindex) && flow_enter(&scratch->key, flow) ? 0 : -DROP_FLOW_LIMIT;
}
