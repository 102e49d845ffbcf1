/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whether a flow to a service's backend may begin, and enters the tables: it is within the
 * service's limit, and counts from now on. Who opens it has paid a token already: nothing is noted of who
 * does not, so that nobody drives out within a second what was noted of others.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include "counted.h"
#include "drop.h"
#include "flow.h"
#include "guest.h"
#include "limit.h"
#include "packet.h"
#include "seek.h"
#include "service.h"
#include "serving.h"
#include "tracking.h"
#include "use.h"

static __always_inline bool packet_opens(const struct packet *pkt)
{
	return pkt->protocol != IPPROTO_TCP || pkt->flags & PACKET_OPENS;
}

/* `stays`: it counts among those that are open, if these are limited, until guest_give. What cannot be
 * counted is refused.
 */
static __noinline enum limited guest_take(__u64 number, __u64 client, bool stays)
{
	const struct limit *limit = bpf_map_lookup_elem(&limits, &number);
	struct use_key key = { .limit = number };
	struct use *all, *own;
	__u64 most;

	stays = stays && limit && limit->connections;
	if (!limit || !(limit->rate || stays))
		return LIMITED_NOT;
	most = limit->connections + use_given(number);
	all = use_of(&key);
	key.client = client;
	own = use_in(&guests, &key);
	if (!all || !own)
		return LIMITED_REFUSED;
	if (stays)
		return limit_allows(limit, most, all, own) && limit_enter(limit, most, all, own)
			       ? LIMITED_TAKEN
			       : LIMITED_REFUSED;
	if (!limit_paces(limit, all, own))
		return LIMITED_REFUSED;
	__sync_fetch_and_add(&all->now, 1);
	__sync_fetch_and_add(&own->now, 1);
	return LIMITED_NOT;
}

/* No place is left to note it in. */
static __always_inline void counted_full(const struct counted *new)
{
	struct use_key key = { .limit = new->limit };
	struct use *all = bpf_map_lookup_elem(&uses, &key);

	if (all)
		__sync_fetch_and_add(&all->full, 1);
}

static __always_inline bool counted_note(const struct flow_key *key, struct counted *new)
{
	if (!(new->limit ? bpf_map_update_elem(&counted, key, new, BPF_NOEXIST)
			 : bpf_map_update_elem(&balanced, key, new, BPF_NOEXIST)))
		return true;
	counted_give(new, key->protocol);
	counted_full(new);
	return false;
}

/* A flow of a service begins, whose backend is chosen; `taken` of the service's limit. False: there is no
 * place left to note that.
 */
static __noinline bool counted_enter(const struct flow_key *key, struct flow *flow,
				     const struct service *service, __u64 client, bool taken)
{
	struct counted new = {};

	if (!key || !flow || !service)
		return false;
	new.limit = taken ? service->limit : 0;
	new.client = client;
	new.service = flow_service(key, flow);
	new.backend.addr = flow->dst;
	new.backend.port = flow->dst_port;
	new.seen = flow->seen;
	new.epoch = flow->epoch;
	if (service->algorithm == SERVICE_LEAST && serving_up(&new.backend, key->protocol, true))
		new.flags = COUNTED_SERVES;
	if (!new.limit && !new.flags)
		return true;
	flow->flags |= FLOW_COUNTED;
	return counted_note(key, &new) || !taken;
}

/* The middle of a connection whose flow was forgotten, or its end: it may count still. */
static __always_inline void counted_again(const struct packet *pkt, const struct flow_key *key,
					  struct flow *flow)
{
	struct counted *found = counted_find(key);

	if (!found)
		return;
	flow->flags |= FLOW_COUNTED;
	if (pkt->flags & PACKET_RESETS) {
		flow->flags |= FLOW_RESET;
		counted_give(found, key->protocol);
		return;
	}
	if (pkt->flags & PACKET_CLOSES)
		flow->flags |= FLOW_CLOSED;
	counted_regain(found, key->protocol);
}

/* False: it is over the limit. What was counted of the same port before is no more. */
static __always_inline bool admit_new(const struct flow_key *key, struct flow *flow,
				      const struct service *service, __u64 client)
{
	bool stays = key->protocol == IPPROTO_TCP;
	enum limited limited = LIMITED_NOT;

	if (stays)
		counted_leave(key);
	if (service->limit)
		limited = guest_take(service->limit, client, stays);
	if (limited == LIMITED_REFUSED)
		return false;
	return !stays || counted_enter(key, flow, service, client, limited == LIMITED_TAKEN);
}

/* Zero: it did. The middle of a connection whose flow was forgotten always may. */
static __noinline int admit(const struct packet *pkt, const struct flow_key *key, struct flow *flow,
			    const struct service *service, __u64 client)
{
	if (!pkt || !key || !flow || !service)
		return -DROP_FLOW_LIMIT;
	if (!packet_opens(pkt))
		counted_again(pkt, key, flow);
	else if (!admit_new(key, flow, service, client))
		return -DROP_LIMITED;
	if (flow_enter(key, flow))
		return 0;
	counted_leave(key);
	return -DROP_FLOW_LIMIT;
}
