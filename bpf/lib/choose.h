/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which backend of a frontend on hosts a new flow gets. Nothing is kept of it before the flow is paid for:
 * else everybody outside could fill the table of choices.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "choice.h"
#include "draw.h"
#include "drop.h"
#include "flow.h"
#include "frontend.h"
#include "hash.h"
#include "identity.h"
#include "maglev.h"
#include "publication.h"
#include "service.h"

/* `alone`: the client, whatever he asks. */
static __always_inline __u32 choose_hash(const struct flow_key *key, bool alone)
{
	__u32 hash = hash_mix_addr(0, &key->src);

	if (alone)
		return hash_end(hash);
	hash = hash_mix(hash, (__u32)key->src_port << 16 | key->dst_port);
	hash = hash_mix_addr(hash, &key->dst);
	return hash_end(hash_mix(hash, key->protocol));
}

/* By the table: the same packet gets the same backend again, though its flow is forgotten. */
static __noinline __u32 choose_slot(const struct flow_key *key, const struct service *service)
{
	struct port_key at;

	if (!key || !service)
		return MAGLEV_NONE;
	at = frontend_key(&key->dst, key->dst_port, key->protocol);
	return maglev_slot(&at, choose_hash(key, service->affinity));
}

/* Clients of a port of hosts are addresses, not network namespaces. */
static __always_inline __u64 choose_client(const struct flow_key *key)
{
	__u32 high = hash_mix_addr(0, &key->src), low = hash_mix_addr(1, &key->src);

	return (__u64)hash_end(high) << 32 | hash_end(low);
}

/* Whose share of a limit it takes: an address's; of IPv6 outside, where one may have any number, all that
 * have its first 64 bits.
 */
static __always_inline __u64 choose_sharer(const struct flow_key *key)
{
	struct flow_key network = { .src = key->src };

	if (!addr_is_mapped(&key->src) && addr_is_outside(&key->src))
		network.src.words[2] = network.src.words[3] = 0;
	return choose_client(&network);
}

static __noinline bool choose_kept(struct draw *draw, const struct service *service,
				   const struct flow_key *key)
{
	if (!draw || !service || !key)
		return false;
	return choice_find(draw, service, choose_client(key), 0);
}

/* Whether a client's backend is kept by a table of ours: Maglev's keeps it by itself. */
static __always_inline bool choose_keeps(const struct service *service)
{
	return service->affinity && service->algorithm != SERVICE_MAGLEV;
}

/* What was chosen for a flow that is paid for. */
static __noinline void choose_keep(const struct service *service, const struct flow_key *key,
				   const struct flow *flow, __u32 slot)
{
	struct draw draw = {};

	if (!service || !key || !flow || !choose_keeps(service))
		return;
	draw.service = frontend_key(&key->dst, key->dst_port, key->protocol);
	draw.backend.addr = flow->dst;
	draw.backend.port = flow->dst_port;
	draw.slot = slot;
	choice_keep(&draw, service, choose_client(key), 0);
}

static __noinline bool choose_draw(struct draw *draw, const struct service *service,
				   const struct flow_key *key)
{
	__u32 slot;

	if (!draw || !service || !key)
		return false;
	if (service->algorithm == SERVICE_MAGLEV) {
		slot = choose_slot(key, service);
		if (slot < service->backends)
			draw_slot(draw, slot);
	}
	return draw->found || draw_backend(draw, service);
}

/* The slot, and where the flow leads to. Or the reason why it leads to nobody. What a client has kept
 * is asked for here: one call deeper there is no room on Linux 6.1's stack.
 */
static __noinline int choose(const struct service *service, const struct flow_key *key,
			     struct flow *flow)
{
	struct draw draw = {};

	if (!service || !key || !flow)
		return -DROP_REFUSED;
	if (service_is_bare(service))
		return service->flags & SERVICE_SILENT ? -DROP_SILENT : -DROP_REFUSED;
	draw.service = frontend_key(&key->dst, key->dst_port, key->protocol);
	if (!(choose_keeps(service) && choose_kept(&draw, service, key)) &&
	    !choose_draw(&draw, service, key))
		return -DROP_REFUSED;
	flow->dst = draw.backend.addr;
	flow->dst_port = draw.backend.port;
	return draw.slot;
}
