/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The underlay: what carries packets between hosts, where this host is in it, and how its routes know
 * others.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "mac.h"

struct underlay {
	struct addr v4; /* where other hosts reach this one; zero: there they do not */
	struct addr v6;
	__u32 id;    /* of the cluster's overlay, of 24 bits */
	__be16 port; /* UDP, of VXLAN; zero: this host has no other beside it */
	__u16 pad;
	__u32 host; /* number of this host */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct underlay);
} underlays SEC(".maps");

/* How a host is reached: the next hop, and how the host's own routes lead to that. */
struct way {
	__u64 sent;	/* bytes, since it leads to this host by this next hop (bpf/sent.py) */
	__u32 tick;	/* in which it was found */
	__u32 host;	/* that is to be reached */
	struct addr to; /* of the next hop */
	struct addr from;
	__u32 via; /* its number, and its flags */
	__u32 flags;
	__u32 shares; /* next hops that flows to that host are shared over, this one among them */
	__u32 ifindex;
	__u32 mtu;
	struct mac next; /* on this link; of whoever comes first on it, and our own */
	struct mac own;
	__u8 known;  /* these two are */
	__u8 direct; /* it is the next hop itself that comes first, no router */
	__be16 port; /* of VXLAN, and its identifier as it stands in the header */
	__be32 id;
	__u32 asked; /* the tick in which the kernel was made to ask who comes first */
	__u32 pad;
};

/* NULL: this host has no other beside it. All of the overlay begins with this question, so that is
 * all that a host alone pays.
 */
static __always_inline const struct underlay *underlay_find(void)
{
	__u32 zero = 0;
	const struct underlay *found = bpf_map_lookup_elem(&underlays, &zero);

	return found && found->port ? found : NULL;
}

static __always_inline const struct addr *underlay_own(const struct underlay *underlay, bool v4)
{
	return v4 ? &underlay->v4 : &underlay->v6;
}

/* Whether it is here that other hosts send to. */
static __always_inline bool underlay_is_here(const struct underlay *underlay,
					     const struct addr *addr)
{
	return addr_equal(addr, underlay_own(underlay, addr_is_mapped(addr))) &&
	       !addr_is_unspecified(addr);
}
