// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* tc ingress of an uplink: what comes from outside. Only what is for a published port, claims to
 * come from an endpoint, or asks whether a link is up is ours to decide; all else goes on to the
 * host's stack as it came.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include "lib/drop.h"
#include "lib/fragment.h"
#include "lib/icmp.h"
#include "lib/identity.h"
#include "lib/link.h"
#include "lib/network.h"
#include "lib/packet.h"
#include "lib/parse.h"
#include "lib/published.h"

#define FOR_THIS_HOST 0 /* PACKET_HOST, of linux/if_packet.h */
#define VLAN_NUMBER   0x0fff

static __always_inline int decide(struct __sk_buff *skb, struct packet *pkt)
{
	int verdict;

	if (skb->pkt_type != FOR_THIS_HOST)
		return TC_ACT_OK;
	if (skb->vlan_present && !(skb->vlan_tci & VLAN_NUMBER) && bpf_skb_vlan_pop(skb))
		return TC_ACT_OK; /* a priority alone (802.1p) is no VLAN */
	if (parse(skb, pkt))	  /* not wholly understood: yet it may lie of where it comes from */
		return subnet_find(&pkt->src) ? -DROP_SPOOFED_ADDRESS : TC_ACT_OK;
	if (pkt->ethertype == IS_ARP || packet_is_neighbour(pkt))
		return TC_ACT_OK;
	pkt->flags |= PACKET_ON_WIRE;
	if (subnet_find(&pkt->src))
		return -DROP_SPOOFED_ADDRESS; /* ours are all inside */
	verdict = link_answer(skb, pkt);
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
