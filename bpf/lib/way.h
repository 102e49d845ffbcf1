/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The ways to other hosts: by which next hop, and how the host's routes lead to that. To look all of
 * it up costs as much as a packet does besides, so it holds for a tick, on this CPU: what changes a
 * path, a link, a route or its MTU changes the way in the next one.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "clock.h"
#include "hash.h"
#include "next_hop.h"
#include "packet.h"
#include "route.h"
#include "scratch.h"
#include "underlay.h"
#include "vxlan.h"

#define WAY_TICK      23	  /* ticks of 2^23 ns: 8 ms */
#define WAY_HOSTS     512	  /* that are remembered, by number */
#define WAY_NEIGHBOUR 0x80000000u /* the host itself is the next hop, whatever path leads there */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 6 * WAY_HOSTS);
	__type(key, __u32);
	__type(value, struct way);
} ways SEC(".maps");

static __always_inline bool way_is_direct(const struct bpf_fib_lookup *fib, const struct addr *to)
{
	if (addr_is_mapped(to))
		return fib->family == FAMILY_V4 && fib->ipv4_dst == to->words[3];
	return addr_equal((const struct addr *)fib->ipv6_dst, to);
}

static __always_inline bool way_look(struct __sk_buff *skb, struct way *way,
				     struct bpf_fib_lookup *fib)
{
	bool v4 = addr_is_mapped(&way->to);
	__u32 mtu = 0;
	long result;

	__builtin_memset(fib, 0, sizeof(*fib));
	fib->tot_len = 1; /* asks for the route's MTU */
	result = host_route(skb, v4 ? IS_IPV4 : IS_IPV6, &way->from, &way->to, fib);
	way->known = result == BPF_FIB_LKUP_RET_SUCCESS;
	if (!way->known && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return false;
	way->ifindex = fib->ifindex;
	way->direct = way_is_direct(fib, &way->to);
	__builtin_memcpy(&way->next, fib->dmac, sizeof(way->next));
	__builtin_memcpy(&way->own, fib->smac, sizeof(way->own));
	if (!way->known && bpf_check_mtu(skb, way->ifindex, &mtu, 0, 0) < 0)
		return false;
	way->mtu = way->known ? fib->mtu_result : mtu;
	return true;
}

/* The next hop that a way begins with. */
static __always_inline const struct next_hop *way_next(struct way *way, __u32 key)
{
	const struct path *path;

	if (key & WAY_NEIGHBOUR) {
		key &= ~WAY_NEIGHBOUR;
		return bpf_map_lookup_elem(&next_hops, &key);
	}
	path = path_find(key);
	if (!path)
		return NULL;
	way->shares = path_shares(path);
	return path_next(path, path_share(key));
}

/* False: there is none. One without the neighbour's MAC is looked for with each packet. Global:
 * parse.h.
 */
__noinline bool way_renew(struct __sk_buff *skb, struct way *way, __u32 host, __u32 tick)
{
	const struct underlay *here = underlay_find();
	struct scratch *scratch = scratch_get();
	const struct next_hop *next;

	if (!here || !scratch || !way)
		return false;
	if (way->host != host)
		way->sent = 0;
	way->host = 0;
	next = way_next(way, host);
	if (!next)
		return false;
	way->to = next->underlay;
	way->from = *underlay_own(here, addr_is_mapped(&way->to));
	way->port = here->port;
	way->id = vxlan_id(here);
	if (way->via != next->host)
		way->sent = 0;
	way->via = next->host;
	way->flags = next->flags;
	if (!way_look(skb, way, &scratch->fib))
		return false;
	way->tick = tick;
	way->host = way->known ? host : 0;
	return true;
}

/* Hosts and shares apart. Of the shares those of either routing are half a part from each other: few
 * networks need both.
 */
static __always_inline __u32 way_place(__u32 key)
{
	__u32 share = path_share(key), host = key & ((1u << PATH_SHARE) - 1);

	if (key & WAY_NEIGHBOUR)
		return host % WAY_HOSTS + WAY_HOSTS;
	if (share)
		return (host + (key & PATH_LATENCY ? WAY_HOSTS / 2 : 0)) % WAY_HOSTS +
		       (2 + share) * WAY_HOSTS;
	return host % WAY_HOSTS + (key & PATH_LATENCY ? 2 * WAY_HOSTS : 0);
}

/* To a host, by its number with whatever else says how. NULL: there is none. */
static __always_inline struct way *way_by(struct __sk_buff *skb, __u32 key)
{
	__u32 tick = clock_now() >> WAY_TICK, place = way_place(key);
	struct way *way = bpf_map_lookup_elem(&ways, &place);

	if (!way)
		return NULL;
	if (way->host == key && way->tick == tick)
		return way;
	return way_renew(skb, way, key, tick) ? way : NULL;
}

/* A flow stays on its share, carried or not: its own addresses and ports say which (hash.h). Each
 * host mixes itself in, as a relay gets the flows of one share alone. Of a packet in parts only the
 * first has ports. Global: parse.h.
 */
__noinline __u32 way_share(const struct packet *pkt, __u32 shares)
{
	const struct underlay *here = underlay_find();
	__u32 hash = 0;

	if (!pkt || !here)
		return 0;
	hash = hash_mix_addr(hash, &here->v4);
	hash = hash_mix_addr(hash, &here->v6);
	hash = hash_mix_addr(hash, &pkt->src);
	hash = hash_mix_addr(hash, &pkt->dst);
	if (!(pkt->flags & PACKET_FRAGMENT))
		hash = hash_mix(hash, (__u32)pkt->src_port << 16 | pkt->dst_port);
	hash = hash_mix(hash, pkt->protocol);
	return (__u64)hash_end(hash) * shares >> 32;
}

/* By a path, for this packet; where flows are shared, by its flow's own next hop, which may be written
 * as well: what goes by each counts for that. NULL: no way leads there.
 */
static __always_inline struct way *way_to(struct __sk_buff *skb, const struct packet *pkt,
					  __u32 path)
{
	struct way *first = way_by(skb, path), *other;
	__u32 share;

	if (!first || first->shares == 1)
		return first;
	share = way_share(pkt, first->shares);
	if (!share)
		return first;
	other = way_by(skb, path | share << PATH_SHARE);
	return other ? other : first;
}
