/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The underlay: what carries packets between hosts, as this host's routes know it. They are asked
 * for each packet, so that its way and its MTU are always theirs.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "drop.h"
#include "packet.h"
#include "route.h"
#include "settings.h"

struct way {
	struct addr to;
	struct bpf_fib_lookup fib;
	__u32 mtu;
	bool known;  /* the MAC of who is next on it */
	bool direct; /* that is the host itself, no router */
	__u16 pad;
};

static __always_inline struct addr underlay_own(bool v4)
{
	return v4 ? settings_addr(&settings.underlay_v4) : settings_addr(&settings.underlay_v6);
}

/* Whether it is here that other hosts send to. */
static __always_inline bool underlay_is_here(const struct addr *addr)
{
	struct addr own = underlay_own(addr_is_mapped(addr));

	return addr_equal(addr, &own) && !addr_is_unspecified(addr);
}

static __always_inline bool way_is_direct(const struct bpf_fib_lookup *fib, const struct addr *to)
{
	if (addr_is_mapped(to))
		return fib->family == FAMILY_V4 && fib->ipv4_dst == to->words[3];
	return addr_equal((const struct addr *)fib->ipv6_dst, to);
}

/* The way to a host, or a reason. */
static __always_inline int underlay_way(struct __sk_buff *skb, const struct addr *to,
					struct way *way)
{
	bool v4 = addr_is_mapped(to);
	struct addr own = underlay_own(v4);
	long result;

	way->to = *to;
	__builtin_memset(&way->fib, 0, sizeof(way->fib));
	way->fib.tot_len = 1; /* asks for the route's MTU */
	result = host_route(skb, v4 ? IS_IPV4 : IS_IPV6, &own, to, &way->fib);
	way->known = result == BPF_FIB_LKUP_RET_SUCCESS;
	if (!way->known && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return -DROP_NO_PATH;
	way->direct = way_is_direct(&way->fib, to);
	way->mtu = way->fib.mtu_result;
	if (!way->known && bpf_check_mtu(skb, way->fib.ifindex, &way->mtu, 0, 0) < 0)
		return -DROP_NO_PATH;
	return 0;
}
