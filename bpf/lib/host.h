/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Is this the host itself? Its addresses are known as identities; one that it got a moment ago
 * is known to its routes first.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "identity.h"
#include "packet.h"

#define FAMILY_V4 2 /* AF_INET and AF_INET6 */
#define FAMILY_V6 10

/* Whether the host's routes send this packet on to somebody else. No route, no forwarding, or a
 * local address: it does not, and who must not reach the host is refused.
 */
static __noinline bool host_forwards(struct __sk_buff *skb, const struct packet *pkt)
{
	struct bpf_fib_lookup fib = { .ifindex = skb->ifindex };
	long result;

	if (pkt->ethertype == IS_IPV4) {
		fib.family = FAMILY_V4;
		fib.ipv4_src = pkt->src.words[3];
		fib.ipv4_dst = pkt->dst.words[3];
	} else {
		fib.family = FAMILY_V6;
		__builtin_memcpy(fib.ipv6_src, &pkt->src, sizeof(pkt->src));
		__builtin_memcpy(fib.ipv6_dst, &pkt->dst, sizeof(pkt->dst));
	}
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	return result >= 0 && result != BPF_FIB_LKUP_RET_NOT_FWDED &&
	       result != BPF_FIB_LKUP_RET_FWD_DISABLED;
}
