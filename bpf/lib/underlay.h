/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The underlay: what carries packets between hosts, as this host's routes know it. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include "addr.h"
#include "mac.h"
#include "settings.h"

/* How a host is reached: the next hop, and how the host's own routes lead to that. */
struct way {
	__u32 tick;	/* in which it was found */
	__u32 host;	/* that is to be reached */
	struct addr to; /* of the next hop */
	__u32 via;	/* its number, and its flags */
	__u32 flags;
	__u32 ifindex;
	__u32 mtu;
	struct mac next; /* on this link; of whoever comes first on it, and our own */
	struct mac own;
	__u8 known;  /* these two are */
	__u8 direct; /* it is the next hop itself that comes first, no router */
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
