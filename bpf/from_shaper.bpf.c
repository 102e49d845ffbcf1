// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* tc ingress of both ends of a shaper (shaper.h): what goes to an endpoint, or comes from it, and has
 * waited for its turn. What comes from it begins anew at its device, where from_endpoint knows it by
 * a mark: so it is judged once, and by the same program as everybody's.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include "lib/drop.h"
#include "lib/shaper.h"

/* PACKET_HOST and PACKET_OTHERHOST, of linux/if_packet.h. */
#define FOR_THIS_HOST 0
#define FOR_ANOTHER   3

static __always_inline int decide(struct __sk_buff *skb)
{
	const struct shaper *shaper = shaper_find(skb->ifindex);

	if (!shaper)
		return -DROP_UNKNOWN_DEVICE;
	if (skb->pkt_type != FOR_ANOTHER)
		return -DROP_MULTICAST; /* the host's own: it tells of groups on every device */
	if (skb->ifindex == shaper->into) {
		skb->mark = SHAPER_MARK;
		return bpf_redirect(shaper->endpoint, BPF_F_INGRESS);
	}
	if (bpf_skb_change_type(skb, FOR_THIS_HOST))
		return -DROP_UNKNOWN_DEVICE;
	return bpf_redirect_peer(shaper->endpoint, 0);
}

SEC("tc")
int from_shaper(struct __sk_buff *skb)
{
	int verdict = decide(skb);

	return verdict < 0 ? drop(skb, -verdict) : verdict;
}

char LICENSE[] SEC("license") = "GPL";
