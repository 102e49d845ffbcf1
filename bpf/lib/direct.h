/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What goes to an endpoint by its own address, though its ports are published besides, or are asked by a
 * service.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include "flow.h"
#include "packet.h"
#include "scratch.h"
#include "tracking.h"

/* Who asks an endpoint directly is not to be answered as if he had asked a published port, or (`led`:
 * FLOW_LED) a service: a flow by which he did so before, from the same port, is over.
 */
static __noinline void flow_make_way(const struct packet *pkt, __u32 led)
{
	struct scratch *scratch = scratch_get();
	struct flow_key asked;
	struct flow *found;

	if (!scratch || !pkt || !(pkt->flags & PACKET_OPENS || pkt->protocol == IPPROTO_UDP))
		return;
	asked = flow_key_of(pkt);
	scratch->key.src = asked.dst;
	scratch->key.dst = asked.src;
	scratch->key.src_port = asked.dst_port;
	scratch->key.dst_port = asked.src_port;
	scratch->key.protocol = asked.protocol;
	__builtin_memset(scratch->key.pad, 0, sizeof(scratch->key.pad));
	scratch->key.ingress = 0;
	found = flow_find(&scratch->key);
	if (!found || (found->flags & (FLOW_ANSWER | FLOW_PLAIN | FLOW_LED)) != (FLOW_ANSWER | led))
		return;
	scratch->flow = *found;
	flow_forget(&scratch->key, &scratch->flow);
}
