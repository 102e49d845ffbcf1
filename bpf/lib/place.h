/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Where a socket connects or sends to: an address and a port, as its hooks tell and set them. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include "addr.h"

struct place {
	struct addr addr;
	__be16 port;
	__u16 pad;
};

static __always_inline struct place place_v4(const struct bpf_sock_addr *ctx)
{
	struct place place = { .port = ctx->user_port };

	addr_map(&place.addr, ctx->user_ip4);
	return place;
}

static __always_inline void place_set_v4(struct bpf_sock_addr *ctx, const struct place *place)
{
	ctx->user_ip4 = place->addr.words[3];
	ctx->user_port = place->port;
}

/* Of a mapped IPv4 address too: that is how ours are written. */
static __always_inline struct place place_v6(const struct bpf_sock_addr *ctx)
{
	struct place place = { .port = ctx->user_port };

	place.addr.words[0] = ctx->user_ip6[0];
	place.addr.words[1] = ctx->user_ip6[1];
	place.addr.words[2] = ctx->user_ip6[2];
	place.addr.words[3] = ctx->user_ip6[3];
	return place;
}

static __always_inline void place_set_v6(struct bpf_sock_addr *ctx, const struct place *place)
{
	ctx->user_ip6[0] = place->addr.words[0];
	ctx->user_ip6[1] = place->addr.words[1];
	ctx->user_ip6[2] = place->addr.words[2];
	ctx->user_ip6[3] = place->addr.words[3];
	ctx->user_port = place->port;
}

static __always_inline bool place_equal(const struct place *a, const struct place *b)
{
	return a->port == b->port && addr_equal(&a->addr, &b->addr);
}
