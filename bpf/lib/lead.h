/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whether a flow still leads to the backend that it was led to (fallback.h). */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include "draw.h"
#include "flow.h"
#include "judge.h"
#include "leaving.h"
#include "packet.h"
#include "service.h"
#include "tracking.h"

enum lead {
	LEAD_UNKNOWN,
	LEAD_HOLDS,
	LEAD_ENDED, /* its backend is none any more, or its client another one */
};

/* A place that is looked for among the backends of a service. */
struct seek {
	struct port_key service;
	struct place backend;
	__u32 before; /* weights of the slots that were seen */
	__u32 weight;
	__u32 found;
};

static long seek_slot(__u32 slot, struct seek *seek)
{
	const struct backend *backend = backend_at(&seek->service, slot);

	if (!backend)
		return 0;
	seek->weight = backend->upto - seek->before;
	seek->before = backend->upto;
	if (!backend_is(backend, &seek->backend))
		return 0;
	seek->found = 1;
	return 1;
}

/* Whom a flow was led to, by which port of a VIP. */
static __always_inline struct seek seek_of(const struct flow_key *key, const struct flow *flow)
{
	bool answers = flow->flags & FLOW_ANSWER;
	struct seek seek = {
		.service = { .addr = answers ? flow->src : key->dst,
			     .port = answers ? flow->src_port : key->dst_port,
			     .protocol = key->protocol },
		.backend = { .addr = answers ? key->src : flow->dst,
			     .port = answers ? key->src_port : flow->dst_port },
	};

	return seek;
}

/* `new`: one that gets new connections. */
static __always_inline bool seek_backend(struct seek *seek, bool new)
{
	const struct service *service = bpf_map_lookup_elem(&services, &seek->service);

	if (!service)
		return false;
	seek->found = seek->before = seek->weight = draw_nothing(service);
	bpf_loop(service->backends, seek_slot, seek, 0);
	return seek->found && (seek->weight || !new);
}

/* Datagrams open nothing, so each may be led elsewhere. Of a connection to a backend that leaves it is
 * asked with each packet, so that it ends in time.
 */
static __noinline bool lead_holds(const struct flow_key *key, struct flow *flow, bool opens)
{
	bool new = opens || (key && key->protocol != IPPROTO_TCP);
	__u32 epoch = epoch_now();
	struct seek seek;

	if (!key || !flow)
		return false;
	if (flow->epoch == epoch && !opens)
		return true;
	if (!flow_container_holds(key, flow))
		return false;
	seek = seek_of(key, flow);
	if (seek_backend(&seek, new)) {
		flow->epoch = epoch;
		return true;
	}
	return !new &&leaving_is(&seek.service, &seek.backend);
}

/* A packet that opens a connection anew, or once more, is led to who gets new ones. */
static __noinline enum lead lead_find(const struct packet *pkt, const struct flow_key *key,
				      struct flow *flow)
{
	struct flow *found;

	if (!pkt || !key || !flow)
		return LEAD_UNKNOWN;
	found = bpf_map_lookup_elem(&inner_flows, key);
	if (!found)
		return LEAD_UNKNOWN;
	flow_hear(found, pkt->flags);
	*flow = *found;
	if (!(flow->flags & FLOW_LED) || flow->tag != flow_tag(key))
		return LEAD_UNKNOWN;
	if (!lead_holds(key, flow, pkt->flags & PACKET_OPENS)) {
		flow_forget(key, flow);
		return LEAD_ENDED;
	}
	found->epoch = flow->epoch;
	if (flow_refresh(key, flow))
		found->seen = flow->seen;
	return LEAD_HOLDS;
}
