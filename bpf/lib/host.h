/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Is this the host itself? Its addresses are known as identities; one that it got a moment ago
 * is known to its routes first.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "packet.h"
#include "route.h"

/* Whether the host's routes send this packet on to somebody else. No route, no forwarding, or a
 * local address: it does not, and who must not reach the host is refused.
 */
static __noinline bool host_forwards(struct __sk_buff *skb, const struct packet *pkt)
{
	struct bpf_fib_lookup fib = {};
	long result = host_route(skb, pkt->ethertype, &pkt->src, &pkt->dst, &fib);

	return result >= 0 && result != BPF_FIB_LKUP_RET_NOT_FWDED &&
	       result != BPF_FIB_LKUP_RET_FWD_DISABLED;
}
