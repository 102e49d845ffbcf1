/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The host's own sockets that ask a published port: they speak with the backend itself, and take
 * it for the address that they asked. Translated once a connection; no packet pays for it.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "publication.h"
#include "settings.h"

struct place {
	struct addr addr;
	__be16 port;
	__u16 pad;
};

/* Of a connected socket: dies with it. */
struct asked {
	struct place backend;
	struct place place; /* that its owner named */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct asked);
} sockets SEC(".maps");

/* Of datagrams from a socket that is not connected: it may ask many. */
struct datagram_key {
	__u64 cookie;
	struct place backend;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct datagram_key);
	__type(value, struct place);
} datagrams SEC(".maps");

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

/* The backend of a place that is the host's own: one of its addresses, its loopback, or the
 * unspecified address, which means the loopback. False: nobody's business here.
 */
static __always_inline bool socket_backend(struct bpf_sock_addr *ctx, const struct place *place,
					   struct place *backend)
{
	const struct publication *found;

	if (bpf_get_netns_cookie(ctx) != settings.netns_cookie)
		return false;
	if (addr_is_internal(&place->addr))
		found = publication_at(&place->addr, place->port, ctx->protocol);
	else
		found = publication_find(&place->addr, place->port, ctx->protocol);
	if (!found)
		return false;
	backend->addr = found->backend;
	backend->port = found->port;
	return true;
}

static __always_inline bool socket_connect(struct bpf_sock_addr *ctx, struct place *place)
{
	struct asked asked = { .place = *place };

	if (!ctx->sk)
		return false;
	if (!socket_backend(ctx, place, &asked.backend)) {
		if (ctx->protocol == IPPROTO_UDP) /* connected anew, and elsewhere */
			bpf_sk_storage_delete(&sockets, ctx->sk);
		return false;
	}
	if (!bpf_sk_storage_get(&sockets, ctx->sk, &asked, BPF_SK_STORAGE_GET_F_CREATE))
		return false;
	*place = asked.backend;
	return true;
}

static __always_inline bool socket_send(struct bpf_sock_addr *ctx, struct place *place)
{
	struct datagram_key key = { .cookie = bpf_get_socket_cookie(ctx) };

	if (!socket_backend(ctx, place, &key.backend) ||
	    bpf_map_update_elem(&datagrams, &key, place, BPF_ANY))
		return false;
	*place = key.backend;
	return true;
}

/* Who answers: what its owner named, where that stood for this backend. */
static __always_inline bool socket_peer(struct bpf_sock_addr *ctx, struct place *place)
{
	struct datagram_key key = { .cookie = bpf_get_socket_cookie(ctx), .backend = *place };
	const struct place *named;
	const struct asked *asked;

	if (!ctx->sk)
		return false;
	asked = bpf_sk_storage_get(&sockets, ctx->sk, NULL, 0);
	if (asked && place_equal(&asked->backend, place)) {
		*place = asked->place;
		return true;
	}
	if (ctx->protocol != IPPROTO_UDP)
		return false;
	named = bpf_map_lookup_elem(&datagrams, &key);
	if (!named)
		return false;
	*place = *named;
	return true;
}
