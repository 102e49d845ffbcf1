/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* New connections by published ports, and the limit of a service's in a second (use.h). A client is an
 * address here: who asks by packets has no socket that would be known, nor an end that is sure to be noticed.
 *
 * What each of them opened lately lies in a table of its own, which forgets: outside one may have any
 * number of addresses, and is not to drive out those whose sockets are counted.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include "budget.h"
#include "choose.h"
#include "drop.h"
#include "flow.h"
#include "frontend.h"
#include "packet.h"
#include "service.h"
#include "use.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct use_key); /* its client is the hash of an address */
	__type(value, struct use);   /* nothing is open of it */
} guests SEC(".maps");

/* All that a host opens in a second is one number, whoever asks. What cannot be counted is refused. */
static __noinline bool guest_take(__u64 number, __u64 client)
{
	const struct limit *limit = bpf_map_lookup_elem(&limits, &number);
	struct use_key key = { .limit = number };
	struct use *all, *own;

	if (!limit || !limit->rate)
		return true;
	all = use_of(&key);
	key.client = client;
	own = use_in(&guests, &key);
	if (!all || !own || !limit_paces(limit, all, own))
		return false;
	__sync_fetch_and_add(&all->now, 1);
	__sync_fetch_and_add(&own->now, 1);
	return true;
}

/* Zero: a flow may begin. The middle of a connection whose flow was forgotten always may. Nothing is noted
 * of who does not pay, so that nobody drives out within a second what was noted of others.
 */
static __noinline int guest_admit(const struct packet *pkt, const struct flow_key *key, __u32 payer)
{
	const struct service *service;

	if (!pkt || !key || !budget_spend(payer))
		return -DROP_FLOW_LIMIT;
	if (pkt->protocol == IPPROTO_TCP && !(pkt->flags & PACKET_OPENS))
		return 0;
	service = frontend_find(&key->dst, key->dst_port, key->protocol);
	if (!service || !service->limit || guest_take(service->limit, choose_client(key)))
		return 0;
	return -DROP_LIMITED;
}
