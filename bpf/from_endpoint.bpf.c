// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* tc ingress of the host side of an endpoint's veth: every packet that a container sends.
 * Parse, then decide, then act; a negative result is a drop reason.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include "lib/addr.h"
#include "lib/answer.h"
#include "lib/asked.h"
#include "lib/convey.h"
#include "lib/cut.h"
#include "lib/direct.h"
#include "lib/drop.h"
#include "lib/endpoint.h"
#include "lib/fallback.h"
#include "lib/flow.h"
#include "lib/fragment.h"
#include "lib/host.h"
#include "lib/identity.h"
#include "lib/judge.h"
#include "lib/led.h"
#include "lib/member.h"
#include "lib/neighbour.h"
#include "lib/network.h"
#include "lib/packet.h"
#include "lib/parse.h"
#include "lib/published.h"
#include "lib/refuse.h"
#include "lib/remote.h"
#include "lib/related.h"
#include "lib/resolver.h"
#include "lib/rewrite.h"
#include "lib/scratch.h"
#include "lib/settings.h"
#include "lib/shaper.h"

/* The source is no endpoint of the sender's container: say what it may have been instead. */
static __always_inline int refuse_source(struct __sk_buff *skb, const struct packet *pkt)
{
	if (addr_is_group(&pkt->dst))
		return -DROP_MULTICAST;
	return interface_find(skb->ifindex) ? -DROP_SPOOFED_ADDRESS : -DROP_UNKNOWN_DEVICE;
}

/* Fast when the address belongs to the very device; else any of the same container's. */
static __always_inline int check_source(struct __sk_buff *skb, const struct packet *pkt,
					const struct endpoint *src)
{
	struct mac gateway = settings_mac(&settings.gateway_mac);
	const struct endpoint *sender = src;

	if (!src)
		return refuse_source(skb, pkt);
	if (src->ifindex != skb->ifindex) {
		sender = interface_find(skb->ifindex);
		if (!sender || sender->container != src->container)
			return refuse_source(skb, pkt);
	}
	if (!mac_equal(&pkt->src_mac, &sender->mac))
		return -DROP_SPOOFED_MAC;
	if (!mac_equal(&pkt->dst_mac, &gateway))
		return mac_is_group(&pkt->dst_mac) ? -DROP_MULTICAST : -DROP_OTHER_HOST;
	return 0;
}

static __always_inline int to_endpoint_here(struct __sk_buff *skb, struct packet *pkt,
					    const struct endpoint *src, const struct endpoint *dst)
{
	int err;

	if (!endpoint_reaches(src, dst))
		return -DROP_ISOLATED;
	if (pkt->ttl <= 1)
		return -DROP_TTL_EXCEEDED;
	if (!packet_fits(skb, pkt, dst->mtu)) {
		pkt->mtu = dst->mtu;
		return pkt->flags & PACKET_WHOLE ? -DROP_TOO_BIG : fragment_cut(pkt);
	}
	if (dst->flags & ENDPOINT_PUBLISHED && !(pkt->flags & PACKET_LED))
		flow_make_way(pkt, 0);
	err = led_tells(pkt, dst) ? led_error(skb, pkt) : led_back(skb, pkt, dst);
	if (!err)
		err = rewrite_hop(skb, pkt, &dst->mac);
	return err ? err : endpoint_enter(dst);
}

static __always_inline int to_host(struct __sk_buff *skb, struct packet *pkt,
				   const struct endpoint *src)
{
	int verdict;

	if (src->flags & ENDPOINT_HOST_CLOSED)
		return asked_by_host(skb, pkt) ? TC_ACT_OK : -DROP_HOST_CLOSED;
	verdict = published(skb, pkt);
	return verdict == NOT_PUBLISHED ? TC_ACT_OK : verdict;
}

/* To another host's endpoint, or to another host. */
static __always_inline int to_remote(struct __sk_buff *skb, struct packet *pkt,
				     const struct endpoint *src, const struct remote *dst)
{
	int verdict;

	if (!remote_reaches(dst, src))
		return -DROP_ISOLATED;
	if (dst->flags & REMOTE_HOST && src->flags & ENDPOINT_HOST_CLOSED &&
	    !asked_by_host(skb, pkt))
		return -DROP_HOST_CLOSED;
	if (pkt->ttl <= 1)
		return -DROP_TTL_EXCEEDED;
	verdict = convey(skb, pkt, remote_path(dst), true);
	return verdict == CONVEY_NOT ? fragment_cut(pkt) : verdict;
}

/* To a backend that is no endpoint of ours: as to the same place without a service. */
static __noinline int to_outside(struct __sk_buff *skb, struct packet *pkt,
				 const struct endpoint *src, const struct addr *backend)
{
	if (!pkt || !src || !backend || addr_is_group(backend) || addr_is_internal(backend))
		return -DROP_INTERNAL;
	if (addr_is_link_local(backend) && !(src->flags & ENDPOINT_LINK_LOCAL))
		return -DROP_LINK_LOCAL;
	if (identity_of(backend) != IDENTITY_HOST && subnet_find(backend))
		return -DROP_NO_ENDPOINT;
	pkt->dst = *backend;
	if (src->flags & ENDPOINT_HOST_CLOSED && (member_find(backend) || !host_forwards(skb, pkt)))
		return -DROP_HOST_CLOSED;
	return TC_ACT_OK;
}

/* A socket that connects holds an ICMP error back until it connects once more, after a second; a reset it
 * hears at once.
 */
static __noinline int unreachable(const struct packet *pkt)
{
	const struct subnet *subnet = pkt ? subnet_find(&pkt->dst) : NULL;
	bool vip = subnet && subnet->network == NETWORK_SERVICES;

	return vip && pkt->protocol == IPPROTO_TCP ? -DROP_REFUSED : -DROP_NO_ENDPOINT;
}

/* To an address of ours that no endpoint has: a service is asked, where the hooks of a socket left it
 * alone (socket.h).
 */
static __always_inline int to_service(struct __sk_buff *skb, struct packet *pkt,
				      const struct endpoint *src)
{
	int verdict = fallback(skb, pkt, src);
	const struct addr *backend = fallback_backend();
	const struct endpoint *dst;
	const struct remote *remote;

	if (verdict || !backend)
		return verdict;
	dst = endpoint_find(backend);
	remote = dst ? NULL : remote_find(backend);
	if (dst)
		verdict = to_endpoint_here(skb, pkt, src, dst);
	else
		verdict = remote ? to_remote(skb, pkt, src, remote)
				 : to_outside(skb, pkt, src, backend);
	if (verdict == -DROP_TTL_EXCEEDED || verdict == -DROP_TOO_BIG || verdict == -DROP_NO_PATH ||
	    verdict == -DROP_NO_ENDPOINT)
		fallback_undo(skb, pkt);
	return verdict;
}

static __always_inline int to_elsewhere(struct __sk_buff *skb, struct packet *pkt,
					const struct endpoint *src)
{
	int verdict;

	if (addr_is_group(&pkt->dst))
		return -DROP_MULTICAST;
	if (addr_is_internal(&pkt->dst))
		return -DROP_INTERNAL;
	if (resolver_asked(pkt))
		return TC_ACT_OK;
	if (addr_is_link_local(&pkt->dst) && !(src->flags & ENDPOINT_LINK_LOCAL))
		return -DROP_LINK_LOCAL;
	if (identity_of(&pkt->dst) == IDENTITY_HOST)
		return to_host(skb, pkt, src);
	if (subnet_find(&pkt->dst)) {
		verdict = to_service(skb, pkt, src);
		return verdict == -DROP_NO_ENDPOINT ? unreachable(pkt) : verdict;
	}
	if (src->flags & ENDPOINT_HOST_CLOSED &&
	    (member_find(&pkt->dst) || !host_forwards(skb, pkt)))
		return -DROP_HOST_CLOSED;
	return TC_ACT_OK;
}

/* `inside`: to another endpoint, here or elsewhere, or to another host. */
static __always_inline int answer_of(struct __sk_buff *skb, struct packet *pkt,
				     const struct endpoint *src, bool inside)
{
	return src->flags & ENDPOINT_PUBLISHED ? answer(skb, pkt, inside) : NOT_PUBLISHED;
}

static __always_inline void ask_directly(const struct packet *pkt, const struct endpoint *src)
{
	if ((pkt->flags & PACKET_OPENS || pkt->protocol == IPPROTO_UDP) && led_ever(src))
		flow_make_way(pkt, FLOW_LED);
}

static __always_inline int onward(struct __sk_buff *skb, struct packet *pkt,
				  const struct endpoint *src)
{
	const struct endpoint *dst = endpoint_find(&pkt->dst);
	const struct remote *remote;
	int verdict;

	if (dst) {
		ask_directly(pkt, src);
		verdict = answer_of(skb, pkt, src, true);
		return verdict == NOT_PUBLISHED ? to_endpoint_here(skb, pkt, src, dst) : verdict;
	}
	remote = remote_find(&pkt->dst);
	verdict = answer_of(skb, pkt, src, remote != NULL);
	if (verdict != NOT_PUBLISHED)
		return verdict;
	if (!remote)
		return to_elsewhere(skb, pkt, src);
	ask_directly(pkt, src);
	return to_remote(skb, pkt, src, remote);
}

/* By the rate of the device that it came by: its source may be another one's of the container. */
static __always_inline int wait(struct __sk_buff *skb, const struct endpoint *src)
{
	const struct endpoint *sender = src;

	if (src->ifindex != skb->ifindex)
		sender = interface_find(skb->ifindex);
	return sender ? shaper_out(skb, sender) : NOT_SHAPED;
}

static __always_inline int decide(struct __sk_buff *skb, struct packet *pkt)
{
	const struct endpoint *src;
	int err;

	err = parse(skb, pkt);
	if (err)
		return err;
	if (pkt->ethertype == IS_ARP)
		return arp_answer(skb, pkt);
	if (packet_is_neighbour(pkt))
		return neighbour_answer(skb, pkt);
	src = endpoint_find(&pkt->src);
	err = check_source(skb, pkt, src);
	if (err)
		return err;
	err = wait(skb, src);
	if (err != NOT_SHAPED)
		return err;
	if (pkt->flags & PACKET_FRAGMENT) {
		err = fragment_follow(pkt);
		if (err)
			return err;
	}
	return onward(skb, pkt, src);
}

SEC("tc")
int from_endpoint(struct __sk_buff *skb)
{
	struct packet pkt = {};
	int verdict = decide(skb, &pkt);

	return verdict < 0 ? refuse(skb, &pkt, -verdict) : verdict;
}

/* The kernel has no word for "GPL-2.0-only OR Apache-2.0": of the two, this is the one it knows. */
char LICENSE[] SEC("license") = "GPL";
