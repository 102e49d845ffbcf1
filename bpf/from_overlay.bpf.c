// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* tc ingress of the overlay's device: what other hosts send, for their endpoints or as relays. Most of
 * it goes past this device, by the short cut of from_wire; what that does not decide comes here.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include "lib/addr.h"
#include "lib/arrive.h"
#include "lib/convey.h"
#include "lib/cut.h"
#include "lib/drop.h"
#include "lib/endpoint.h"
#include "lib/fragment.h"
#include "lib/identity.h"
#include "lib/ingress.h"
#include "lib/member.h"
#include "lib/network.h"
#include "lib/packet.h"
#include "lib/parse.h"
#include "lib/published.h"
#include "lib/refuse.h"
#include "lib/remote.h"
#include "lib/underlay.h"

#define NO_TUNNEL_KEY 22 /* EINVAL: the packet was not encapsulated */
#define OTHER_FAMILY  71 /* EPROTO */

struct outer {
	struct addr src;
	__u32 id;
	bool checked; /* it was not encapsulated: from_wire has seen to it that it may come so */
};

static __always_inline int outer_read(struct __sk_buff *skb, struct outer *outer)
{
	struct bpf_tunnel_key key = {};
	__u32 size = offsetof(struct bpf_tunnel_key, local_ipv4);
	int err = bpf_skb_get_tunnel_key(skb, &key, size, 0);

	if (!err)
		addr_map(&outer->src, bpf_htonl(key.remote_ipv4));
	if (err == -OTHER_FAMILY) {
		err = bpf_skb_get_tunnel_key(skb, &key, size, BPF_F_TUNINFO_IPV6);
		__builtin_memcpy(&outer->src, key.remote_ipv6, sizeof(outer->src));
	}
	outer->id = key.tunnel_id;
	outer->checked = err == -NO_TUNNEL_KEY;
	return err && !outer->checked ? -DROP_UNKNOWN_HOST : 0;
}

/* Apart: with what it holds on the stack, calls from here would be too deep for 6.1. */
static __noinline int check_outer(struct __sk_buff *skb, struct packet *pkt,
				  const struct remote *src)
{
	const struct underlay *here = underlay_find();
	struct outer outer = {};
	int err = outer_read(skb, &outer);

	if (err || outer.checked)
		return err;
	if (!here)
		return -DROP_OTHER_OVERLAY;
	return outer.id == here->id ? member_may_send(&outer.src, src)
				    : ingress_check(here, &outer.src, outer.id, pkt, src);
}

static __always_inline int to_host(struct __sk_buff *skb, struct packet *pkt)
{
	int verdict;

	if (pkt->flags & PACKET_FRAGMENT && fragment_follow(pkt))
		return TC_ACT_OK;
	verdict = published(skb, pkt);
	return verdict == NOT_PUBLISHED ? TC_ACT_OK : verdict;
}

static __always_inline int onward(struct __sk_buff *skb, struct packet *pkt,
				  const struct remote *dst)
{
	int verdict;

	if (pkt->ttl <= 1)
		return -DROP_TTL_EXCEEDED;
	if (pkt->flags & PACKET_FRAGMENT)
		fragment_follow(pkt); /* if its first went elsewhere, nothing is known against it */
	verdict = convey(skb, pkt, remote_path(dst), true);
	return verdict == CONVEY_NOT ? fragment_cut(pkt) : verdict;
}

static __always_inline int decide(struct __sk_buff *skb, struct packet *pkt)
{
	const struct endpoint *dst;
	const struct remote *src, *remote;
	int err;

	err = parse(skb, pkt);
	if (err)
		return err;
	pkt->flags |= PACKET_REMOTE;
	if (pkt->ethertype == IS_ARP || packet_is_neighbour(pkt))
		return -DROP_NEIGHBOUR;
	src = remote_find(&pkt->src);
	err = check_outer(skb, pkt, src);
	if (err)
		return err;
	if (pkt->ingress)
		return ingress(skb, pkt, src);
	if (!src)
		return -DROP_SPOOFED_ADDRESS;
	if (addr_is_group(&pkt->dst))
		return -DROP_MULTICAST;
	dst = endpoint_find(&pkt->dst);
	if (dst)
		return arrive(skb, pkt, src, dst);
	remote = remote_find(&pkt->dst);
	if (remote)
		return onward(skb, pkt, remote);
	if (addr_is_internal(&pkt->dst))
		return -DROP_INTERNAL;
	if (addr_is_link_local(&pkt->dst))
		return -DROP_LINK_LOCAL;
	if (identity_of(&pkt->dst) == IDENTITY_HOST)
		return to_host(skb, pkt);
	return subnet_find(&pkt->dst) ? -DROP_NO_ENDPOINT : -DROP_NOT_HERE;
}

SEC("tc")
int from_overlay(struct __sk_buff *skb)
{
	struct packet pkt = {};
	int verdict = decide(skb, &pkt);

	return verdict < 0 ? refuse(skb, &pkt, -verdict) : verdict;
}

char LICENSE[] SEC("license") = "GPL";
