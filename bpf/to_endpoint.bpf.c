// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* tc egress of the host side of an endpoint's veth: what the host's stack delivers, be it the
 * host's own, the world's, or a packet between endpoints that the stack had to cut.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include "lib/addr.h"
#include "lib/asked.h"
#include "lib/direct.h"
#include "lib/drop.h"
#include "lib/endpoint.h"
#include "lib/fragment.h"
#include "lib/identity.h"
#include "lib/led.h"
#include "lib/network.h"
#include "lib/packet.h"
#include "lib/parse.h"
#include "lib/remote.h"
#include "lib/resolver.h"
#include "lib/rewrite.h"
#include "lib/shaper.h"
#include "lib/tunnel.h"

/* What came from another host's endpoint by the overlay, and had to be cut. */
static __always_inline int check_remote(struct __sk_buff *skb, const struct packet *pkt,
					const struct endpoint *dst)
{
	const struct remote *src = remote_find(&pkt->src);

	if (!src || !tunnel_is(skb->ingress_ifindex))
		return -DROP_SPOOFED_ADDRESS;
	return remote_reaches(src, dst) ? 0 : -DROP_ISOLATED;
}

/* Who claims an endpoint's address must have come in by its container; who claims another address
 * of our subnets must be the host, or have come by the overlay.
 */
static __always_inline int check_source(struct __sk_buff *skb, const struct packet *pkt,
					const struct endpoint *dst)
{
	const struct endpoint *src = endpoint_find(&pkt->src);

	if (src) {
		if (!endpoint_owns(src, skb->ingress_ifindex))
			return -DROP_SPOOFED_ADDRESS;
		return endpoint_reaches(src, dst) ? 0 : -DROP_ISOLATED;
	}
	if (!subnet_find(&pkt->src) || identity_of(&pkt->src) == IDENTITY_HOST)
		return 0;
	return check_remote(skb, pkt, dst);
}

static __always_inline int decide(struct __sk_buff *skb)
{
	const struct endpoint *dst;
	struct packet pkt = {};
	int err;

	err = parse(skb, &pkt);
	if (err)
		return err;
	if (pkt.ethertype == IS_ARP)
		return -DROP_PROTOCOL;
	dst = endpoint_find(&pkt.dst);
	if (!dst || dst->ifindex != skb->ifindex)
		return -DROP_NOT_HERE;
	err = check_source(skb, &pkt, dst);
	if (err)
		return err;
	if (pkt.flags & PACKET_FRAGMENT) {
		err = fragment_follow(&pkt);
		if (err)
			return err;
	}
	if (dst->flags & ENDPOINT_PUBLISHED)
		flow_make_way(&pkt, 0);
	if (dst->flags & ENDPOINT_HOST_CLOSED && identity_of(&pkt.src) == IDENTITY_HOST &&
	    !resolver_answers(&pkt)) {
		err = asked_remember(&pkt, dst);
		if (err)
			return err;
	}
	err = led_tells(&pkt, dst) ? led_error(skb, &pkt) : led_back(skb, &pkt, dst);
	if (!err)
		err = rewrite_receiver(skb, &dst->mac);
	return err ? err : shaper_enter(dst);
}

SEC("tc")
int to_endpoint(struct __sk_buff *skb)
{
	int verdict = decide(skb);

	return verdict < 0 ? drop(skb, -verdict) : verdict;
}

/* The kernel has no word for "GPL-2.0-only OR Apache-2.0": of the two, this is the one it knows. */
char LICENSE[] SEC("license") = "GPL";
