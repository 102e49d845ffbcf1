// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* tc ingress of an uplink: what comes from outside. Only what other hosts send for our endpoints, what
 * is for a published port, what claims to come from an endpoint, and what asks or tells whether a link is
 * up is ours to decide; all else goes on to the host's stack as it came.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include "lib/arrive_direct.h"
#include "lib/drop.h"
#include "lib/fragment.h"
#include "lib/identity.h"
#include "lib/link.h"
#include "lib/maglev.h"
#include "lib/network.h"
#include "lib/packet.h"
#include "lib/parse.h"
#include "lib/published.h"
#include "lib/refuse.h"
#include "lib/remote.h"
#include "lib/shortcut.h"
#include "lib/shortcut_ingress.h"

#define FOR_THIS_HOST 0 /* PACKET_HOST, of linux/if_packet.h */
#define VLAN_NUMBER   0x0fff

/* Of an endpoint, here or elsewhere, or of another host in the cluster. */
static __always_inline bool source_is_ours(const struct packet *pkt)
{
	return subnet_find(&pkt->src) || remote_find(&pkt->src);
}

static __always_inline int decide(struct __sk_buff *skb, struct packet *pkt)
{
	const struct remote *remote;
	int verdict;

	if (skb->pkt_type != FOR_THIS_HOST)
		return TC_ACT_OK;
	if (skb->vlan_present && !(skb->vlan_tci & VLAN_NUMBER) && bpf_skb_vlan_pop(skb))
		return TC_ACT_OK; /* a priority alone (802.1p) is no VLAN */
	verdict = skb->vlan_present ? NO_SHORTCUT : shortcut(skb);
	if (verdict == SHORTCUT_INGRESS)
		verdict = shortcut_ingress(skb, pkt);
	if (verdict != NO_SHORTCUT)
		return verdict;
	if (parse(skb, pkt)) /* not wholly understood: yet it may lie of where it comes from */
		return source_is_ours(pkt) ? -DROP_SPOOFED_ADDRESS : TC_ACT_OK;
	if (pkt->ethertype == IS_ARP || packet_is_neighbour(pkt))
		return TC_ACT_OK;
	pkt->flags |= PACKET_ON_WIRE;
	remote = remote_find(&pkt->src);
	if (remote)
		return arrive_direct(skb, pkt, remote);
	if (subnet_find(&pkt->src))
		return -DROP_SPOOFED_ADDRESS; /* ours are all inside */
	verdict = link_hear(skb, pkt);
	if (verdict != NO_PROBE)
		return verdict;
	if (pkt->flags & PACKET_FRAGMENT && fragment_follow(pkt))
		return TC_ACT_OK;
	verdict = published(skb, pkt);
	return verdict == NOT_PUBLISHED ? TC_ACT_OK : verdict;
}

SEC("tc")
int from_wire(struct __sk_buff *skb)
{
	struct packet pkt = {};
	int verdict = decide(skb, &pkt);

	if (verdict == TC_ACT_OK)
		return TC_ACT_UNSPEC; /* others have programs on this device too */
	return verdict < 0 ? refuse(skb, &pkt, -verdict) : verdict;
}

char LICENSE[] SEC("license") = "GPL";
