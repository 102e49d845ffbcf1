/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whether a place is one of a service's backends still, and gets new connections: what a flow that was
 * led there is judged by.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "flow.h"
#include "place.h"
#include "publication.h"
#include "service.h"

/* A callback of bpf_loop sees it. */
struct seek {
	struct port_key service;
	struct place backend;
	__u32 flags; /* of a flow to it: FLOW_PARTING, FLOW_LEFT */
};

/* By which port of a service a flow is led: of a VIP, or of hosts. */
static __always_inline struct port_key flow_service(const struct flow_key *key,
						    const struct flow *flow)
{
	bool answers = flow->flags & FLOW_ANSWER;
	struct port_key service = {
		.addr = answers ? flow->src : key->dst,
		.port = answers ? flow->src_port : key->dst_port,
		.protocol = key->protocol,
	};

	if (flow->flags & FLOW_SERVICE)
		return frontend_key(&service.addr, service.port, key->protocol);
	return service;
}

/* Whom it was led to. */
static __always_inline void seek_flow(struct seek *seek, const struct flow_key *key,
				      const struct flow *flow)
{
	bool answers = flow->flags & FLOW_ANSWER;

	seek->service = flow_service(key, flow);
	seek->backend.addr = answers ? key->src : flow->dst;
	seek->backend.port = answers ? key->src_port : flow->dst_port;
}

static long seek_slot(__u32 slot, struct seek *seek)
{
	const struct backend *backend = backend_at(&seek->service, slot);

	if (!backend)
		return 0;
	if (!backend_is(backend, &seek->backend))
		return 0;
	seek->flags = backend_is_idle(backend) ? FLOW_PARTING : 0;
	return 1;
}

static __always_inline void seek_through(struct seek *seek)
{
	const struct service *service;

	seek->flags = FLOW_PARTING | FLOW_LEFT;
	service = bpf_map_lookup_elem(&services, &seek->service);
	if (service)
		bpf_loop(service->backends, seek_slot, seek, 0);
}

/* What is said of it, `flags`, by `services`. Where there is no service, none is its backend. While it
 * was sought it may have moved to a slot that was seen already: so who is not found is sought again.
 */
static __always_inline void seek_backend(struct seek *seek)
{
	seek_through(seek);
	if (seek->flags & FLOW_LEFT)
		seek_through(seek);
}
