/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Endpoints with a limited bandwidth: what they get or send takes the way by a veth pair of their own,
 * whose ends have queues of that rate. What enters at one end leaves at the other one, and
 * from_shaper leads it on. Nobody else pays for it more than a look at his flags.
 *
 * Where a pair is gone, nothing passes until the agent has put it back: what is limited is never free of it.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include "drop.h"
#include "endpoint.h"

/* Of what has been through: a container cannot set it, for marks do not leave its namespace. */
#define SHAPER_MARK 0x53575901

#define NOT_SHAPED  0x10004 /* no verdict */

struct shaper {
	__u32 endpoint; /* ifindex of the host side of its veth */
	__u32 into;	/* where what goes to it enters, and what comes from it leaves */
	__u32 out;	/* the other end */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* ifindex, of each of the three */
	__type(value, struct shaper);
} shaped SEC(".maps");

static __always_inline const struct shaper *shaper_find(__u32 ifindex)
{
	return bpf_map_lookup_elem(&shaped, &ifindex);
}

static __noinline int shaper_in(__u32 ifindex)
{
	const struct shaper *shaper = shaper_find(ifindex);

	return shaper ? bpf_redirect(shaper->into, 0) : -DROP_NO_SHAPER;
}

/* Into its container, at once or at its rate. */
static __always_inline int endpoint_enter(const struct endpoint *dst)
{
	return dst->flags & ENDPOINT_SHAPED_IN ? shaper_in(dst->ifindex)
					       : bpf_redirect_peer(dst->ifindex, 0);
}

/* What the host's stack sends to it. */
static __always_inline int shaper_enter(const struct endpoint *dst)
{
	return dst->flags & ENDPOINT_SHAPED_IN ? shaper_in(dst->ifindex) : TC_ACT_OK;
}

/* What the device of `sender` sent; a verdict if it has to wait. */
static __always_inline int shaper_out(struct __sk_buff *skb, const struct endpoint *sender)
{
	const struct shaper *shaper;

	if (!(sender->flags & ENDPOINT_SHAPED_OUT))
		return NOT_SHAPED;
	if (skb->mark == SHAPER_MARK) {
		skb->mark = 0;
		return NOT_SHAPED;
	}
	shaper = shaper_find(skb->ifindex);
	return shaper ? bpf_redirect(shaper->out, 0) : -DROP_NO_SHAPER;
}
