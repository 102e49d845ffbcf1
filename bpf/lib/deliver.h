/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The way on of a packet whose flow is known: into a container of this host, to another host, or out
 * by an uplink without the host's stack, so that no firewall of the host's takes it for something
 * else. No helper that redirects checks MTU and TTL: here they are.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>
#include "convey.h"
#include "drop.h"
#include "encapsulate.h"
#include "endpoint.h"
#include "flow.h"
#include "next_hop.h"
#include "packet.h"
#include "related.h"
#include "remote.h"
#include "rewrite.h"
#include "route.h"
#include "scratch.h"
#include "shaper.h"
#include "translate.h"
#include "vxlan.h"
#include "way.h"

/* `quote`: of an ICMP error about the flow; NULL for a packet of its own. Global: parse.h. */
__noinline int deliver_change(struct __sk_buff *skb, const struct packet *pkt,
			      const struct flow *to, const struct quote *quote)
{
	if (!pkt || !to)
		return -DROP_NO_ROUTE;
	return quote ? relate(skb, pkt, quote, to) : translate(skb, pkt, to);
}

static __always_inline int deliver_here(struct __sk_buff *skb, struct packet *pkt,
					const struct flow *to, const struct quote *quote,
					const struct endpoint *dst)
{
	int err;

	if (pkt->ttl <= 1)
		return -DROP_TTL_EXCEEDED;
	pkt->mtu = dst->mtu;
	if (!packet_fits(skb, pkt, pkt->mtu))
		return -DROP_TOO_BIG;
	err = deliver_change(skb, pkt, to, quote);
	if (!err)
		err = rewrite_hop(skb, pkt, &dst->mac);
	return err ? err : endpoint_enter(dst);
}

/* Where the neighbour is not known yet, the kernel asks for it and sends the packet then. */
static __always_inline int deliver_by(struct __sk_buff *skb, const struct packet *pkt,
				      const struct bpf_fib_lookup *fib, bool known)
{
	struct mac to, from;
	int err;

	__builtin_memcpy(&to, fib->dmac, sizeof(to));
	__builtin_memcpy(&from, fib->smac, sizeof(from));
	err = rewrite_hop_from(skb, pkt, &to, &from);
	if (err)
		return err;
	return known ? bpf_redirect(fib->ifindex, 0) : bpf_redirect_neigh(fib->ifindex, NULL, 0, 0);
}

/* Of the route; of the device, where the kernel has not come so far for want of the neighbour. */
static __always_inline __u32 deliver_mtu(struct __sk_buff *skb, const struct bpf_fib_lookup *fib,
					 bool known)
{
	__u32 mtu = 0;

	if (known)
		return fib->mtu_result;
	return bpf_check_mtu(skb, fib->ifindex, &mtu, 0, 0) < 0 ? 0 : mtu;
}

static __noinline int deliver_out(struct __sk_buff *skb, struct packet *pkt, const struct flow *to,
				  const struct quote *quote)
{
	struct scratch *scratch = scratch_get();
	struct bpf_fib_lookup *fib;
	bool known;
	long result;
	int err;

	if (!scratch)
		return -DROP_NO_ROUTE;
	fib = &scratch->fib;
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->tot_len = 1; /* asks for the route's MTU */
	result = host_route(skb, pkt->ethertype, &to->src, &to->dst, fib);
	known = result == BPF_FIB_LKUP_RET_SUCCESS;
	if (!known && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return -DROP_NO_ROUTE;
	if (pkt->ttl <= 1)
		return -DROP_TTL_EXCEEDED;
	pkt->mtu = deliver_mtu(skb, fib, known);
	if (!packet_fits(skb, pkt, pkt->mtu))
		return -DROP_TOO_BIG;
	err = deliver_change(skb, pkt, to, quote);
	return err ? err : deliver_by(skb, pkt, fib, known);
}

/* By the overlay, as who asks is nobody of the cluster's, under the number of the host that was asked:
 * to whom has the backend, or back to that host.
 */
static __noinline int deliver_carried(struct __sk_buff *skb, struct packet *pkt,
				      const struct flow *to, const struct quote *quote)
{
	const struct remote *remote = to->flags & FLOW_ANSWER ? NULL : remote_find(&to->dst);
	__u32 path = to->flags & FLOW_ANSWER ? to->ingress : 0;
	struct way *way;
	int err;

	if (remote)
		path = remote_path(remote);
	way = way_to(skb, pkt, path);
	if (!way || !(way->flags & NEXT_HOP_OVERLAY))
		return -DROP_NO_PATH;
	if (pkt->ttl <= 1)
		return -DROP_TTL_EXCEEDED;
	pkt->mtu = way->mtu - vxlan_overhead(&way->to);
	if (!packet_fits(skb, pkt, pkt->mtu))
		return -DROP_TOO_BIG;
	way->sent += skb->len;
	err = deliver_change(skb, pkt, to, quote);
	if (!err)
		err = encapsulate(skb, pkt->ethertype, way, vxlan_id_of(way->id, to->ingress),
				  true);
	if (err)
		return err == ENCAPSULATE_NOT ? -DROP_NO_PATH : err;
	return convey_out(way);
}

static __always_inline int deliver(struct __sk_buff *skb, struct packet *pkt, const struct flow *to,
				   const struct quote *quote)
{
	const struct endpoint *dst = endpoint_find(&to->dst);

	if (dst)
		return deliver_here(skb, pkt, to, quote, dst);
	return flow_is_carried(to) ? deliver_carried(skb, pkt, to, quote)
				   : deliver_out(skb, pkt, to, quote);
}
