/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the host's routes say. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "packet.h"

#define FAMILY_V4 2 /* AF_INET and AF_INET6 */
#define FAMILY_V6 10

static __always_inline long host_route(struct __sk_buff *skb, __be16 ethertype,
				       const struct addr *src, const struct addr *dst,
				       struct bpf_fib_lookup *fib)
{
	fib->ifindex = skb->ifindex;
	if (ethertype == IS_IPV4) {
		fib->family = FAMILY_V4;
		fib->ipv4_src = src->words[3];
		fib->ipv4_dst = dst->words[3];
	} else {
		fib->family = FAMILY_V6;
		__builtin_memcpy(fib->ipv6_src, src, sizeof(*src));
		__builtin_memcpy(fib->ipv6_dst, dst, sizeof(*dst));
	}
	return bpf_fib_lookup(skb, fib, sizeof(*fib), 0);
}
