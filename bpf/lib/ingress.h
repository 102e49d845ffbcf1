/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Published ports of services, between hosts: what asks the one and is for a backend of another, and
 * its answer. Both are carried under an identifier of their own, that of the overlay and behind it the
 * number of the host that was asked: who has the backend learns by it where the answer belongs, and
 * relays keep it. Of such a packet one end is ours, and never the other.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "behind.h"
#include "budget.h"
#include "clock.h"
#include "convey.h"
#include "deliver.h"
#include "drop.h"
#include "endpoint.h"
#include "flow.h"
#include "fragment.h"
#include "judge.h"
#include "member.h"
#include "network.h"
#include "next_hop.h"
#include "packet.h"
#include "published.h"
#include "remote.h"
#include "scratch.h"
#include "settings.h"
#include "tracking.h"
#include "underlay.h"

#define OVERLAY_IDS 0x00ffffff

/* Of nobody in the cluster. Where the underlay has a host it is outside, too. */
static __always_inline bool ingress_is_foreign(const struct addr *addr)
{
	struct addr own = addr_is_mapped(addr) ? settings_addr(&settings.host_v4)
					       : settings_addr(&settings.host_v6);

	return !addr_is_group(addr) && !addr_is_internal(addr) && !addr_is_link_local(addr) &&
	       !addr_equal(addr, &own) && !subnet_find(addr) && !endpoint_find(addr) &&
	       !remote_find(addr);
}

/* Whether a packet under this identifier may come from there; zero, or the reason why not. `src`:
 * whose its source is.
 */
static __always_inline int ingress_check(const struct underlay *here, const struct addr *underlay,
					 __u32 id, struct packet *pkt, const struct remote *src)
{
	const struct member *member = member_find(underlay);
	__u32 ingress = (id - here->id) & OVERLAY_IDS;
	int err;

	if (ingress != here->host && !path_find(ingress))
		return -DROP_OTHER_OVERLAY;
	pkt->ingress = ingress;
	if (src) { /* it answers */
		err = member_may_send(underlay, src);
		if (err)
			return err;
		return ingress_is_foreign(&pkt->dst) ? 0 : -DROP_SPOOFED_ADDRESS;
	}
	if (!member)
		return -DROP_UNKNOWN_HOST;
	if (ingress == here->host || !ingress_is_foreign(&pkt->src))
		return -DROP_SPOOFED_ADDRESS;
	return member->host == ingress || next_hop_live(member->host) ? 0 : -DROP_SPOOFED_HOST;
}

/* A flow to a backend of ours. One client may ask it from the same port by two hosts: to the second
 * one goes on from another port (flow_enter), so each answer finds its way.
 */
static __always_inline int ingress_open(const struct packet *pkt, const struct endpoint *dst,
					struct scratch *scratch)
{
	struct flow *flow = &scratch->flow;

	flow->src = pkt->src;
	flow->dst = pkt->dst;
	flow->src_port = pkt->src_port;
	flow->dst_port = pkt->dst_port;
	flow->epoch = epoch_now();
	flow->seen = clock_ticks();
	flow->flags = 0;
	flow->container = dst->container;
	flow->ingress = pkt->ingress;
	return budget_spend(dst->ifindex | BUDGET_OUTSIDE) && flow_enter(&scratch->key, flow)
		       ? 0
		       : -DROP_FLOW_LIMIT;
}

/* The flow of what is for an endpoint; its answers are known by ENDPOINT_PUBLISHED alone. Which of its
 * ports may be asked so is looked up once a flow: a connection goes on while its backend drains.
 */
static __noinline int ingress_request(const struct packet *pkt, const struct endpoint *dst)
{
	struct scratch *scratch = scratch_get();

	if (!scratch || !pkt || !dst || !flow_has_ports(pkt->protocol) ||
	    !(dst->flags & ENDPOINT_PUBLISHED))
		return -DROP_NOT_PUBLISHED;
	scratch->key = flow_key_of(pkt);
	if (flow_current(&scratch->key, pkt->flags))
		return 0;
	return behind_is(pkt) ? ingress_open(pkt, dst, scratch) : -DROP_NOT_PUBLISHED;
}

/* The flow of what is for the host that was asked: this one. */
static __noinline int ingress_answer(const struct packet *pkt)
{
	struct scratch *scratch = scratch_get();

	if (!scratch || !pkt)
		return -DROP_NO_FLOW;
	scratch->key = flow_key_of(pkt);
	if (!flow_current(&scratch->key, pkt->flags) || !(scratch->flow.flags & FLOW_ANSWER))
		return -DROP_NO_FLOW;
	return 0;
}

static __always_inline int ingress_onward(struct __sk_buff *skb, struct packet *pkt, __u32 path)
{
	int verdict;

	if (pkt->ttl <= 1)
		return -DROP_TTL_EXCEEDED;
	verdict = convey(skb, pkt, path, true);
	return verdict == CONVEY_NOT ? -DROP_NO_PATH : verdict;
}

/* Whom it is for is this host, or one of its endpoints: `dst`. */
static __always_inline int ingress_here(struct __sk_buff *skb, struct packet *pkt,
					const struct endpoint *dst)
{
	int err;

	if (pkt->flags & PACKET_ICMP_ERROR) {
		err = published_error(skb, pkt);
		return err == NOT_PUBLISHED ? -DROP_NO_FLOW : err;
	}
	if (pkt->flags & PACKET_FRAGMENT) {
		err = fragment_follow(pkt);
		if (err)
			return err;
	}
	err = dst ? ingress_request(pkt, dst) : ingress_answer(pkt);
	return err ? err : published_deliver(skb, pkt);
}

/* What has passed the check above; `answers`: its source is ours. */
static __always_inline int ingress(struct __sk_buff *skb, struct packet *pkt, bool answers)
{
	const struct underlay *here = underlay_find();
	const struct endpoint *dst;
	const struct remote *remote;

	if (answers)
		return here && pkt->ingress == here->host ? ingress_here(skb, pkt, NULL)
							  : ingress_onward(skb, pkt, pkt->ingress);
	dst = endpoint_find(&pkt->dst);
	if (dst)
		return ingress_here(skb, pkt, dst);
	remote = remote_find(&pkt->dst);
	if (remote)
		return ingress_onward(skb, pkt, remote_path(remote));
	return subnet_find(&pkt->dst) ? -DROP_REFUSED : -DROP_NOT_HERE;
}
