// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* tc egress of the overlay's device: what the host's stack sends to other hosts, be it the host's own
 * or a packet of an endpoint that the stack had to cut. It goes on past the device, but for what only
 * that can encapsulate.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include "lib/addr.h"
#include "lib/convey.h"
#include "lib/drop.h"
#include "lib/endpoint.h"
#include "lib/next_hop.h"
#include "lib/packet.h"
#include "lib/parse.h"
#include "lib/remote.h"
#include "lib/rewrite.h"
#include "lib/settings.h"
#include "lib/tunnel.h"
#include "lib/underlay.h"
#include "lib/vxlan.h"
#include "lib/way.h"

/* Its address in the cluster: of no other one the receiver could tell whose it is. */
static __always_inline bool source_is_host(const struct packet *pkt)
{
	struct addr own = pkt->ethertype == IS_IPV4 ? settings_addr(&settings.host_v4)
						    : settings_addr(&settings.host_v6);

	return addr_equal(&pkt->src, &own);
}

/* Who claims an endpoint's address must have come in by its container. What came by the overlay was
 * looked at there. All else must be the host's.
 */
static __always_inline int check_source(struct __sk_buff *skb, const struct packet *pkt,
					const struct remote *dst)
{
	const struct endpoint *src = endpoint_find(&pkt->src);

	if (src) {
		if (!endpoint_owns(src, skb->ingress_ifindex))
			return -DROP_SPOOFED_ADDRESS;
		return remote_reaches(dst, src) ? 0 : -DROP_ISOLATED;
	}
	return tunnel_is(skb->ingress_ifindex) || source_is_host(pkt) ? 0 : -DROP_SPOOFED_ADDRESS;
}

static __always_inline long tunnel_key_v4(struct __sk_buff *skb, struct bpf_tunnel_key *key,
					  const struct addr *from, const struct addr *to)
{
	key->remote_ipv4 = bpf_ntohl(to->words[3]);
	key->local_ipv4 = bpf_ntohl(from->words[3]);
	return bpf_skb_set_tunnel_key(skb, key, sizeof(*key),
				      BPF_F_ZERO_CSUM_TX | BPF_F_DONT_FRAGMENT);
}

static __always_inline long tunnel_key_v6(struct __sk_buff *skb, struct bpf_tunnel_key *key,
					  const struct addr *from, const struct addr *to)
{
	__builtin_memcpy(key->remote_ipv6, to, sizeof(*to));
	__builtin_memcpy(key->local_ipv6, from, sizeof(*from));
	return bpf_skb_set_tunnel_key(skb, key, sizeof(*key),
				      BPF_F_ZERO_CSUM_TX | BPF_F_DONT_FRAGMENT |
					      BPF_F_TUNINFO_IPV6);
}

/* The device encapsulates what we cannot, and tells the host's sockets of a smaller MTU. */
static __noinline int by_device(struct __sk_buff *skb, const struct packet *pkt, __u32 path)
{
	struct bpf_tunnel_key key = { .tunnel_ttl = VXLAN_TTL };
	const struct underlay *here = underlay_find();
	const struct way *way = way_to(skb, pkt, path);
	struct mac to = settings_mac(&settings.overlay_mac);
	int err;

	if (!here || !way || !(way->flags & NEXT_HOP_OVERLAY))
		return -DROP_NO_PATH;
	key.tunnel_id = here->id;
	err = rewrite_receiver(skb, &to);
	if (err)
		return err;
	if (addr_is_mapped(&way->to))
		err = tunnel_key_v4(skb, &key, &way->from, &way->to);
	else
		err = tunnel_key_v6(skb, &key, &way->from, &way->to);
	return err ? -DROP_NO_PATH : TC_ACT_OK;
}

static __always_inline int decide(struct __sk_buff *skb)
{
	struct packet pkt = {};
	const struct remote *dst;
	int err, verdict;

	err = parse(skb, &pkt);
	if (err)
		return err;
	if (pkt.ethertype == IS_ARP || packet_is_neighbour(&pkt))
		return -DROP_NEIGHBOUR;
	if (addr_is_group(&pkt.dst))
		return -DROP_MULTICAST;
	dst = remote_find(&pkt.dst);
	if (!dst)
		return -DROP_NOT_HERE;
	err = check_source(skb, &pkt, dst);
	if (err)
		return err;
	verdict = convey(skb, &pkt, remote_path(dst), false);
	if (verdict == CONVEY_NOT || verdict == -DROP_TOO_BIG)
		return by_device(skb, &pkt, remote_path(dst));
	return verdict;
}

SEC("tc")
int to_overlay(struct __sk_buff *skb)
{
	int verdict = decide(skb);

	return verdict < 0 ? drop(skb, -verdict) : verdict;
}

char LICENSE[] SEC("license") = "GPL";
